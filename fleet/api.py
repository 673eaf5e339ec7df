"""The API and the page: reads alone; OpenAPI describes it under ``/docs``."""

from __future__ import annotations

import hmac
import json
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sql
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles

from edge_agent.shares.estimate import ShareEstimator
from fleet.collecting import Tally
from fleet.database import HOUR_MS, Database
from fleet.pooling import Bucket, Pooled, Scope, pooled

PAGE = Path(__file__).parent / "page"
SILENT_S = 90
"""A device says how it is every 30 s; after three times that its "online" is not to be believed (docs/mqtt.md)."""
MOST_HOURS = 24 * 400
MOST_BUCKETS = 10_000


def make_app(database: Database, estimators: dict[str, ShareEstimator], tally: Tally, *, token: str | None) -> FastAPI:
    """Every address; with a token, each asks for it as a bearer token or as the password of a browser's question."""
    app = FastAPI(title="Countenance fleet", dependencies=[Depends(_guard(token))] if token else [])
    if token is None:  # a website's own name that leads to this machine must not be answered
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])

    @app.get("/api/shares")
    def shares(
        *,
        hours: Annotated[int, Query(ge=1, le=MOST_HOURS, description="so many hours back from `until`")] = 24,
        until: Annotated[int | None, Query(description="hours since 1970, excluded; default: after this one")] = None,
        bucket: Bucket = "all",
        device: str | None = None,
        site: str | None = None,
        region: str | None = None,
        group: str | None = None,
    ) -> list[Pooled]:
        """Shares of all people in the windows that were published, corrected once for each bucket."""
        end = until if until is not None else int(time.time() * 1000) // HOUR_MS + 1
        wanted = (("device", device), ("site", site), ("region", region), ("grp", group))
        scope = Scope(end - hours, end, tuple((name, value) for name, value in wanted if value is not None))
        with database.begin() as connection:
            found = pooled(connection, estimators, scope, bucket=bucket)
        if len(found) > MOST_BUCKETS:
            raise HTTPException(413, f"more than {MOST_BUCKETS} buckets: ask for fewer hours or devices")
        return found

    @app.get("/api/devices")
    def devices() -> list[dict[str, Any]]:
        """Every device that was ever heard, and how it is."""
        return _devices(database)

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> str:
        """For Prometheus."""
        lines = [
            f"countenance_fleet_messages_total {tally.messages}",
            f"countenance_fleet_windows_total {tally.windows}",
            f"countenance_fleet_refused_total {sum(tally.refused.values())}",
            f"countenance_fleet_last_commit_seconds {tally.last_commit_s}",
        ]
        for state in _devices(database):
            which = f"{{device={json.dumps(state['device'])},site={json.dumps(state['site'] or '')}}}"
            lines.append(f"countenance_fleet_device_up{which} {int(state['online'])}")
            lines.append(f"countenance_fleet_device_problem{which} {int(bool(state['problem']))}")
            if state["familiar"] is not None:
                lines.append(f"countenance_fleet_device_familiar{which} {state['familiar']}")
            if state["waiting"] is not None:
                lines.append(f"countenance_fleet_device_waiting_windows{which} {state['waiting']}")
        return "\n".join(lines) + "\n"

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/page", StaticFiles(directory=PAGE))
    return app


_DEVICES = """
SELECT d.*, f.familiar AS familiar FROM device d LEFT JOIN (
    SELECT device, sum(familiar) / sum(people) AS familiar FROM hour WHERE hour >= :since AND people > 0 GROUP BY device
) f ON f.device = d.device ORDER BY d.device
"""


def _devices(database: Database) -> list[dict[str, Any]]:
    now_ms = time.time_ns() // 1_000_000
    with database.begin() as connection:
        rows = connection.execute(sql.text(_DEVICES), {"since": now_ms // HOUR_MS - 24}).mappings().all()
    return [_device(dict(row), now_ms) for row in rows]


def _device(row: dict[str, Any], now_ms: int) -> dict[str, Any]:
    info, health = (json.loads(row.pop(name) or "{}") for name in ("info", "health"))
    heard_ms = max(row[name] or 0 for name in ("health_ms", "window_ms", "status_ms"))
    fresh = now_ms - max(row["health_ms"] or 0, row["window_ms"] or 0) < SILENT_S * 1000
    return {
        **{name: row[name] for name in ("device", "name", "site", "region", "camera", "trouble", "problem", "paused")},
        "group": row["grp"],
        "state": row["state"],
        "online": row["state"] == "online" and fresh,
        "heard_ms": heard_ms,
        "version": info.get("version"),
        "model": info.get("model"),
        "waiting": (health.get("store") or {}).get("pending"),
        "familiar": None if row["familiar"] is None else round(row["familiar"], 3),
        "temperature_c": health.get("temperature_c"),
    }


def _guard(token: str) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        kind, _, shown = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            try:
                shown = b64decode(shown).decode().partition(":")[2]
            except ValueError:
                shown = ""
        if not hmac.compare_digest(shown.encode(), token.encode()):
            raise HTTPException(401, "a token is needed", {"WWW-Authenticate": 'Basic realm="Countenance fleet"'})

    return check
