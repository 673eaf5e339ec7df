"""Promises of docs/reliability.md that need a broken network, broker or certificate: real sockets, real mosquitto."""

from __future__ import annotations

import gc
import logging
import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from edge_agent.health.counters import Counter
from edge_agent.mqtt import connection, outbox, publisher
from edge_agent.mqtt.publisher import Publisher
from tests.support.broker import Broker, Subscriber, free_port, wait_until
from tests.support.certificates import Authority
from tests.support.fault_proxy import FaultProxy
from tests.support.other_brokers import amqtt
from tests.support.publishing import Rig, make_config, publishing


@pytest.fixture
def proxy(broker: Broker) -> Iterator[FaultProxy]:
    with FaultProxy(broker.port) as running:
        yield running


def keys(subscriber: Subscriber, topic_end: str) -> list[tuple[str, int]]:
    return [(m.json["session"], m.json["seq"]) for m in subscriber.of(topic_end)]


def first_occurrences(numbers: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return list(dict.fromkeys(numbers))


def test_windows_measured_before_the_broker_is_there_follow_as_history(broker: Broker, tmp_path: Path) -> None:
    """Promise 1: the broker refuses at the start."""
    broker.stop()
    with publishing(make_config(tmp_path, broker.port)) as rig:
        for number in range(30):
            rig.append(number)
        broker.start()
        with Subscriber(broker.port, "countenance/hall/#") as subscriber:
            rig.wait_delivered()
            rig.append(99)
            subscriber.wait_for("/emotions")
        history = subscriber.of("/history")
    assert [m.json["seq"] for m in history] == sorted(m.json["seq"] for m in history)
    assert all(m.json["historical"] for m in history)
    assert keys(subscriber, "/emotions") == [("s1", 31)]


def test_windows_measured_while_the_broker_is_away_follow_as_history(broker: Broker, tmp_path: Path) -> None:
    """Promises 2 and 6: the broker goes, comes back without its memory, and has everything retained again."""
    with publishing(make_config(tmp_path, broker.port)) as rig:
        rig.wait_connected()
        rig.append()
        rig.wait_delivered()
        broker.stop()
        wait_until(lambda: not rig.publisher.connected, what="the loss is noticed")
        away = [rig.append(number).seq for number in range(10)]
        broker.start()
        with Subscriber(broker.port, "countenance/hall/#") as subscriber:
            rig.wait_connected()
            rig.wait_delivered()
            subscriber.wait_for("/info")
            subscriber.wait_for("/status")
        assert set(keys(subscriber, "/history")) <= {("s1", seq) for seq in away}
        assert all(message.json["historical"] for message in subscriber.of("/history"))


def test_a_half_open_link_is_noticed_and_nothing_is_lost(broker: Broker, proxy: FaultProxy, tmp_path: Path) -> None:
    """Promise 3: the link swallows everything without an error."""
    with (
        Subscriber(broker.port, "countenance/hall/#") as subscriber,
        publishing(make_config(tmp_path, proxy.port)) as rig,
    ):
        rig.wait_connected()
        rig.append()
        rig.wait_delivered()
        proxy.blackhole = True
        lost = [rig.append(number).seq for number in range(5)]
        wait_until(lambda: not rig.publisher.connected, 20, "keepalive notices the dead link")
        assert rig.store.stats().pending == 5
        proxy.cut()
        proxy.blackhole = False
        rig.wait_delivered()
    seen = {seq for _, seq in keys(subscriber, "/history") + keys(subscriber, "/emotions")}
    assert seen >= {1, *lost}


def test_without_pubacks_nothing_counts_as_delivered(
    broker: Broker, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 4: publish() returned success, the broker has it, but the PUBACK is lost."""
    monkeypatch.setattr(connection, "ACK_S", 2.0)
    with (
        Subscriber(broker.port, "countenance/hall/#") as subscriber,
        publishing(make_config(tmp_path, proxy.port)) as rig,
    ):
        rig.wait_connected()
        proxy.drop_pubacks = True
        rig.append()
        subscriber.wait_for("/emotions")
        assert rig.store.stats().pending == 1
        subscriber.wait_for("/history", timeout_s=20)
        assert rig.store.stats().pending == 1
        proxy.drop_pubacks = False
        rig.wait_delivered()
    assert set(keys(subscriber, "/history")) == set(keys(subscriber, "/emotions")) == {("s1", 1)}


def test_a_window_that_the_broker_refuses_is_told_and_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise 4: a PUBACK that says "not authorized" is no delivery."""
    monkeypatch.setattr(outbox, "REFUSED_S", 1.0)
    acl = tmp_path / "acl"
    acl.write_text("topic read #\ntopic write countenance/hall/status\n")
    acl.chmod(0o644)
    with (
        Broker(tmp_path / "broker", f"allow_anonymous true\nacl_file {acl}") as broker,
        publishing(make_config(tmp_path, broker.port)) as rig,
    ):
        rig.wait_connected()
        rig.append()
        wait_until(lambda: "refused window 1" in caplog.text, what="the refusal is told")
        wait_until(lambda: "refused countenance/hall/info" in caplog.text, what="that of info, too")
        assert rig.store.stats().pending == 1
        acl.write_text("topic readwrite #\n")
        broker.reload()
        rig.wait_delivered()


def broker_that_allows(directory: Path, *topics: str) -> Broker:
    """A broker whose access list lets a device write its status and these topics, and everyone read everything."""
    acl = directory / "acl"
    acl.write_text("topic read #\n" + "".join(f"topic write countenance/hall/{name}\n" for name in ("status", *topics)))
    acl.chmod(0o644)
    return Broker(directory / "broker", f"allow_anonymous true\nacl_file {acl}")


def test_a_refused_history_topic_does_not_hold_up_live_windows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise 9, with an access list that forgets the history topic; the pause after a refusal is a minute."""
    broker = broker_that_allows(tmp_path, "emotions")
    with publishing(make_config(tmp_path, broker.port)) as rig:
        rig.append(1)
        with broker, Subscriber(broker.port, "countenance/hall/#") as subscriber:
            rig.wait_connected()
            wait_until(lambda: "must allow countenance/hall/emotions/history" in caplog.text, 5, "the refusal is told")
            for number in range(2, 5):
                rig.append(number)
            subscriber.wait_for("/emotions", 3, timeout_s=5)
            wait_until(lambda: rig.store.stats().pending == 1, 5, "PUBACKs of all but the refused window")


def test_windows_that_may_not_go_live_follow_as_history(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Promise 4, with an access list that allows the history topic alone; the pause after a refusal is a minute."""
    broker = broker_that_allows(tmp_path, "emotions/history")
    with (
        broker,
        Subscriber(broker.port, "countenance/hall/#") as subscriber,
        publishing(make_config(tmp_path, broker.port)) as rig,
    ):
        rig.wait_connected()
        rig.append(1)
        wait_until(lambda: "refused window 1" in caplog.text, what="the refusal is told")
        rig.append(2)
        subscriber.wait_for("/history", 2, timeout_s=5)
        rig.wait_delivered(5)
    assert keys(subscriber, "/history") == [("s1", 1), ("s1", 2)]


def test_nothing_is_sent_before_a_late_connack(broker: Broker, proxy: FaultProxy, tmp_path: Path) -> None:
    """Promise 5: the broker takes its time."""
    proxy.connack_delay_s = 3.0
    with (
        Subscriber(broker.port, "countenance/hall/#") as subscriber,
        publishing(make_config(tmp_path, proxy.port)) as rig,
    ):
        rig.append()
        time.sleep(2.0)
        assert not rig.publisher.connected
        assert subscriber.messages == []
        subscriber.wait_for("/history")
        assert proxy.links == 1


def test_a_broker_that_never_answers_is_given_up_and_tried_again(
    broker: Broker, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 5: the other side accepts the connection and says nothing, ever."""
    monkeypatch.setattr(publisher, "CONNACK_S", 1.0)
    proxy.blackhole = True
    with publishing(make_config(tmp_path, proxy.port)) as rig:
        rig.append()
        wait_until(lambda: "no answer to CONNECT" in rig.publisher.problem)
        proxy.blackhole = False
        rig.wait_delivered()


def test_a_stop_on_a_dead_link_is_bounded(broker: Broker, proxy: FaultProxy, tmp_path: Path) -> None:
    """Promise 3: the farewell cannot arrive, and nobody waits long for it."""
    with publishing(make_config(tmp_path, proxy.port)) as rig:
        rig.wait_connected()
        proxy.blackhole = True
        rig.append()
        start = time.monotonic()
        rig.publisher.stop(timeout_s=3.0)
        assert time.monotonic() - start < 5.0
        assert not rig.publisher._thread.is_alive()
        assert rig.store.stats().pending == 1


def test_a_wrong_password_is_told_and_mended_without_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise 7: the password is read again at each attempt."""
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    directory = tmp_path / "broker"
    directory.mkdir()
    subprocess.run(["mosquitto_passwd", "-c", "-b", str(directory / "users"), "hall", "right"], check=True)
    extra = f"allow_anonymous false\npassword_file {directory}/users"
    config = make_config(tmp_path, free_port(), username="hall", password_file=str(secret))
    with Broker(directory, extra, config.mqtt.port), publishing(config) as rig:
        rig.append()
        wait_until(lambda: "password" in rig.publisher.problem, what="the refusal is told")
        secret.write_text("right\n")
        rig.wait_delivered()
    refusals = [r for r in caplog.records if r.levelno == logging.ERROR and "ot authorized" in r.getMessage()]
    assert len(refusals) == 1, "an unchanged problem is told once"
    assert "right" not in caplog.text


def tls_broker(directory: Path, authority: Authority, certificate: tuple[Path, Path], more: str = "") -> Broker:
    extra = f"cafile {authority.ca_file}\ncertfile {certificate[0]}\nkeyfile {certificate[1]}\n{more}"
    return Broker(directory, f"{extra}\nallow_anonymous true")


def test_an_expired_certificate_is_refused_loudly_until_it_is_renewed(tmp_path: Path) -> None:
    """Promise 8: no connection, no password, no window to a broker that does not prove itself."""
    authority = Authority(tmp_path / "ca")
    broker = tls_broker(tmp_path / "broker", authority, authority.issue("server", ends_in_days=-1))
    config = make_config(tmp_path, broker.port, tls={"enabled": True, "ca_file": str(authority.ca_file)})
    with broker, publishing(config) as rig:
        rig.append()
        wait_until(lambda: "expired" in rig.publisher.problem, what="the refusal is told")
        broker.stop()
        authority.issue("server")
        broker.start()
        rig.wait_delivered()


def test_a_certificate_of_another_authority_or_for_another_name_is_refused(tmp_path: Path) -> None:
    """Promise 8."""
    mine, other = Authority(tmp_path / "mine"), Authority(tmp_path / "other")
    tls = {"enabled": True, "ca_file": str(mine.ca_file)}
    with (
        tls_broker(tmp_path / "b1", other, other.issue("server")) as broker,
        publishing(make_config(tmp_path / "1", broker.port, tls=tls)) as rig,
    ):
        wait_until(lambda: "does not verify" in rig.publisher.problem)
        assert rig.health.snapshot().counters[Counter.MQTT_CONNECTS] == 0
    with (
        tls_broker(tmp_path / "b2", mine, mine.issue("server")) as broker,
        publishing(make_config(tmp_path / "2", broker.port, tls=tls, host="127.0.0.2")) as rig,
    ):
        wait_until(lambda: rig.publisher.problem)
        assert not rig.publisher.connected


def test_client_certificates_let_a_device_in(tmp_path: Path) -> None:
    """TLS with CA and client certificate; without one the broker says no."""
    authority = Authority(tmp_path / "ca")
    broker = tls_broker(tmp_path / "broker", authority, authority.issue("server"), "require_certificate true")
    certificate, key = authority.issue("hall")
    tls = {"enabled": True, "ca_file": str(authority.ca_file)}
    with broker, publishing(make_config(tmp_path / "1", broker.port, tls=tls)) as rig:
        wait_until(lambda: rig.publisher.problem)
        assert not rig.publisher.connected
    tls |= {"cert_file": str(certificate), "key_file": str(key)}
    with broker, publishing(make_config(tmp_path / "2", broker.port, tls=tls)) as rig:
        rig.append()
        rig.wait_delivered()


# -- protocol versions -----------------------------------------------------------------------------------------------


def test_a_broker_without_mqtt_5_gets_mqtt_3(tmp_path: Path) -> None:
    """Promise 15: nothing essential is only in MQTT 5."""
    with amqtt(tmp_path, anonymous=True) as port, publishing(make_config(tmp_path, port)) as rig:
        rig.append()
        rig.wait_delivered()
        assert rig.publisher._lessons.terms.protocol.name == "MQTTv311"


def test_a_broker_that_hangs_up_on_mqtt_5_gets_mqtt_3_in_turn(tmp_path: Path) -> None:
    """Promise 15: MQTT 3.1.1 brokers may close the connection instead of answering."""
    levels: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            while True:
                try:
                    link, _ = listener.accept()
                except OSError:
                    return
                with link:
                    levels.append(link.recv(100)[8])

        threading.Thread(target=hang_up, daemon=True).start()
        with publishing(make_config(tmp_path, listener.getsockname()[1])):
            wait_until(lambda: len(levels) >= 3)
        listener.shutdown(socket.SHUT_RDWR)
    assert levels[:3] == [5, 4, 5]


# -- the network thread, memory, order -------------------------------------------------------------------------------


def test_a_network_thread_that_dies_is_noticed_and_replaced(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 13."""
    monkeypatch.setattr(threading, "excepthook", lambda _arguments: None)
    with publishing(make_config(tmp_path, broker.port)) as rig:
        rig.wait_connected()
        link = rig.publisher._connection
        assert link is not None
        monkeypatch.setattr(link._client, "_loop", _die)
        wait_until(lambda: rig.publisher._connection not in (link, None), 20, "another connection")
        rig.append()
        rig.wait_delivered()
        assert rig.health.snapshot().counters[Counter.MQTT_THREAD_DEATHS] == 1


def _die(*_arguments: object) -> None:
    raise RuntimeError("the network thread dies")


def test_a_defect_in_a_callback_costs_one_connection_and_not_the_thread(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 13."""
    with publishing(make_config(tmp_path, broker.port)) as rig, Subscriber(broker.port, "x") as subscriber:
        rig.wait_connected()
        link = rig.publisher._connection
        assert link is not None
        monkeypatch.setattr(link, "_message", _die)
        subscriber.client.publish("countenance/hall/command/identify", b"")
        wait_until(lambda: rig.publisher._connection not in (link, None), 20, "another connection")
        rig.append()
        rig.wait_delivered()


@pytest.mark.parametrize("rounds", [100, pytest.param(1000, marks=[pytest.mark.device, pytest.mark.timeout(600)])])
def test_reconnects_leave_no_memory_thread_or_socket_behind(
    broker: Broker, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    """Promise 12."""
    monkeypatch.setattr(Publisher, "_pause", lambda _self: None)
    process = psutil.Process()
    with publishing(make_config(tmp_path, proxy.port)) as rig:
        _reconnect(rig, proxy, 30)
        gc.collect()
        before, threads, files = process.memory_info().rss, process.num_threads(), process.num_fds()
        for _ in range(rounds // 20):
            _reconnect(rig, proxy, 20)
            gc.collect()
        assert process.num_threads() <= threads + 4
        assert process.num_fds() <= files + 6
        assert process.memory_info().rss - before < 3e6
        rig.append()
        rig.wait_delivered()


def _reconnect(rig: Rig, proxy: FaultProxy, times: int) -> None:
    for _ in range(times):
        rig.wait_connected()
        old = rig.publisher._connection
        proxy.cut()
        wait_until(lambda old=old: rig.publisher._connection not in (old, None), 20, "a new connection")


def test_order_within_each_topic_holds_however_often_the_link_breaks(
    broker: Broker, proxy: FaultProxy, tmp_path: Path
) -> None:
    """Promise 14: first occurrences ascend, live and replayed, and all windows are seen."""
    dice = random.Random(4)
    with (
        Subscriber(broker.port, "countenance/hall/#") as subscriber,
        publishing(make_config(tmp_path, proxy.port)) as rig,
    ):
        for number in range(200):
            rig.append(number)
            time.sleep(0.02)
            if dice.random() < 0.05:
                proxy.cut()
        rig.wait_delivered()
        live, history = keys(subscriber, "/emotions"), keys(subscriber, "/history")
    assert live == sorted(set(live)), "live windows come once and in order"
    assert first_occurrences(history) == sorted(set(history))
    assert {seq for _, seq in live + history} == set(range(1, 201))


def test_live_windows_do_not_wait_for_the_backlog(broker: Broker, tmp_path: Path) -> None:
    """Promise 9: the backlog is rate-limited and lets the present pass."""
    broker.stop()
    with publishing(make_config(tmp_path, broker.port, history_per_s=5)) as rig:
        for number in range(100):
            rig.append(number)
        broker.start()
        with Subscriber(broker.port, "countenance/hall/#") as subscriber:
            rig.wait_connected()
            start = time.monotonic()
            rig.append(1)
            subscriber.wait_for("/emotions")
            assert time.monotonic() - start < 2
            subscriber.wait_for("/history", 10)
            assert time.monotonic() - start > 1
            assert rig.store.stats().pending > 50


def test_a_ca_file_that_is_none_is_told_by_name(tmp_path: Path) -> None:
    """Bad input: the problem names the file."""
    bad = tmp_path / "ca.crt"
    bad.write_text("no certificate")
    with publishing(make_config(tmp_path, free_port(), tls={"enabled": True, "ca_file": str(bad)})) as rig:
        wait_until(lambda: "ca.crt" in rig.publisher.problem)
