"""Several cameras on one machine: one page's server collects what the others' servers show."""

from __future__ import annotations

import time

import httpx

from edge_agent.kiosk.places import KEPT_S
from tests.support.broker import free_port
from tests.support.kiosk_stage import Stage


def cameras(stage: Stage) -> list[dict]:
    return httpx.get(f"{stage.url}/api/cameras").json()["cameras"]


def test_one_server_tells_what_all_cameras_show_and_when_one_is_away():
    port = free_port()
    door = {"device": {"id": "door", "name": "Door"}, "port": port}
    with Stage(kiosk={"cameras": [port]}) as hall:
        hall.play("live")
        assert [camera["name"] for camera in cameras(hall)] == ["Entrance hall", str(port)]
        with Stage(**door) as other:
            other.play("too_few")
            time.sleep(KEPT_S)
            here, there = cameras(hall)
            assert (here["id"], here["figures"]["state"]) == ("entrance", "live")
            assert (there["id"], there["name"], there["figures"]["state"]) == ("door", "Door", "too_few")
            assert there["figures"].keys() == here["figures"].keys()
        time.sleep(KEPT_S)
        assert cameras(hall)[1] == {"id": "door", "name": "Door", "figures": None}


def test_two_pages_that_name_each_other_both_answer():
    """Each tells the other of its own camera alone, so nobody asks in circles."""
    ports = free_port(), free_port()
    with (
        Stage(port=ports[0], kiosk={"cameras": [ports[1]]}) as one,
        Stage(port=ports[1], kiosk={"cameras": [ports[0]]}, device={"id": "door"}) as other,
    ):
        assert [camera["id"] for camera in cameras(one)] == ["entrance", "door"]
        assert [camera["id"] for camera in cameras(other)] == ["door", "entrance"]


def test_what_is_no_agent_counts_as_away(tmp_path):
    """Another program has the port, say."""
    import http.server
    import threading

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        with Stage(kiosk={"cameras": [stranger.server_port]}) as hall:
            assert cameras(hall)[1]["figures"] is None
        stranger.shutdown()
