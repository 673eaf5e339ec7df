"""Whoever has the mirror, or the network, or one key of three, gets nothing into a device."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import UpdateError
from edge_agent.updates import repository as client
from quantization import release as owners
from tests.support.model_releases import SHIPPED, Owned, UpdatedDevice, make_device, make_repository, served

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Owned:
    """Release r1, then r2."""
    owned = make_repository(tmp_path_factory.mktemp("owned"))
    owned.release("r1")
    shutil.copytree(owned.folder, owned.keys / "old")
    owned.release("r2", SHIPPED)
    return owned


@pytest.fixture
def mirror(made: Owned, tmp_path: Path) -> Owned:
    """A copy that may be spoilt."""
    shutil.copytree(made.folder, tmp_path / "mirror")
    return Owned(tmp_path / "mirror", made.keys)


@pytest.fixture
def device(mirror: Owned, made: Owned, tmp_path: Path) -> UpdatedDevice:
    return make_device(tmp_path / "porch", Owned(mirror.folder, made.keys))


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def refused(device: UpdatedDevice, words: str) -> str:
    """The update fails with this reason, and changes nothing that is in use."""
    before = device.state
    with pytest.raises(UpdateError, match=words) as told:
        device.updater.update()
    assert "\n" not in str(told.value)
    assert (device.state.current, device.state.candidate) == (before.current, before.candidate)
    releases = device.config.updates.folder / "releases"
    assert not releases.exists() or all(each.suffix == ".part" for each in releases.iterdir())
    return str(told.value)


def test_an_honest_mirror_gives_the_newest_release_over_http_and_from_a_folder(
    made: Owned, device: UpdatedDevice, tmp_path: Path
) -> None:
    assert device.updater.update().candidate == "r2"
    with served(made.folder) as url:
        assert make_device(tmp_path / "hall", made, url).updater.update().candidate == "r2"


def _swap(folder: Path) -> None:
    """The release's classifier is another one that was signed, too."""
    shutil.copy(only(folder, "targets/r1/*.classifier.tflite"), only(folder, "targets/r2/*.classifier.tflite"))


def _truncate(folder: Path) -> None:
    file = only(folder, "targets/r2/*.classifier.tflite")
    file.write_bytes(file.read_bytes()[:-1000])


def _lengthen(folder: Path) -> None:
    with only(folder, "targets/r2/*.classifier.tflite").open("ab") as file:
        file.write(bytes(10_000_000))


def _change_channels(folder: Path) -> None:
    newest = max(folder.glob("targets/*.channels.json"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes().replace(b"r2", b"r1"))


def _cut_metadata(folder: Path) -> None:
    file = folder / "metadata" / "timestamp.json"
    file.write_bytes(file.read_bytes()[:100])


def _another_percentage(folder: Path) -> None:
    file = max(folder.glob("metadata/*.targets.json"), key=lambda path: int(path.name.split(".")[0]))
    file.write_bytes(file.read_bytes().replace(b'"length":', b'"length":9'))


def _mix(folder: Path) -> None:
    """What was signed at different times does not belong together."""
    newest = max(folder.glob("metadata/*.snapshot.json"), key=lambda path: int(path.name.split(".")[0]))
    shutil.copy(folder / "metadata" / "1.snapshot.json", newest)


def _remove(folder: Path) -> None:
    only(folder, "targets/r2/*.detector.json").unlink()


def _stolen(folder: Path) -> None:
    shutil.rmtree(folder / "metadata")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_swap, "not to be trusted|cannot be fetched"),
        (_truncate, "not to be trusted"),
        (_lengthen, "cannot be fetched.*exceeding"),
        (_change_channels, "not to be trusted"),
        (_cut_metadata, "not to be trusted"),
        (_another_percentage, "not to be trusted"),
        (_mix, "not to be trusted"),
        (_remove, "cannot be fetched"),
        (_stolen, "cannot be fetched"),
    ],
)
def test_what_was_changed_on_the_way_is_refused(
    change: Change, words: str, mirror: Owned, device: UpdatedDevice
) -> None:
    change(mirror.folder)
    refused(device, words)


def test_after_an_interrupted_fetch_what_is_there_and_right_is_not_fetched_again(
    mirror: Owned, made: Owned, device: UpdatedDevice
) -> None:
    only(mirror.folder, "targets/r2/*.card.md").unlink()
    refused(device, "cannot be fetched")
    shutil.copy(only(made.folder, "targets/r2/*.card.md"), mirror.folder / "targets" / "r2")
    part = device.folder.release("r2.part")
    kept = {path.name: path.stat().st_ino for path in part.iterdir()}
    # Only what is missing can be fetched now.
    for path in (mirror.folder / "targets" / "r2").iterdir():
        if path.name.split(".", 1)[1] in kept:
            path.unlink()
    (release,) = (made.folder / "targets" / "r2").glob("*.release.json")
    shutil.copy(release, mirror.folder / "targets" / "r2")
    assert device.updater.update().candidate == "r2"
    now = {path.name: path.stat().st_ino for path in device.folder.release("r2").iterdir()}
    assert kept
    assert kept.items() <= now.items()


def test_older_metadata_is_refused_once_newer_was_seen(mirror: Owned, made: Owned, device: UpdatedDevice) -> None:
    assert device.updater.update().latest == "r2"
    shutil.rmtree(mirror.folder)
    shutil.copytree(made.keys / "old", mirror.folder)
    before = device.state
    with pytest.raises(UpdateError, match=r"not to be trusted.*version"):
        device.updater.update()
    assert device.state == before


def test_expired_metadata_is_refused(
    mirror: Owned, made: Owned, device: UpdatedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror that hides what is new can do so only until what it shows expires."""
    monkeypatch.setitem(owners.VALID, "timestamp", timedelta(seconds=-1))
    mirror.by("daily").renew()
    refused(device, "timestamp.json is expired.*renew it")


def test_a_clock_in_the_past_is_noticed(mirror: Owned, device: UpdatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take metadata for good that expired long ago."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(days=3)

    monkeypatch.setattr(owners, "datetime", Ahead)
    mirror.by("daily").renew()
    assert "set the clock" in refused(device, "clock says .* but the repository was signed on")
    shutil.rmtree(mirror.folder)  # what was seen once is remembered
    refused(device, "clock says")


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_one_stolen_key_of_three_with_the_daily_one_gets_nothing_in(
    name: str, mirror: Owned, device: UpdatedDevice
) -> None:
    thief = mirror.by(name, "daily")
    mirror.release("evil", by=thief)
    assert (mirror.folder / "waiting" / "targets.json").exists()
    assert device.updater.check().latest == "r2"
    # It does not keep to the rules either.
    waiting = (mirror.folder / "waiting" / "targets.json").read_bytes()
    versions = [int(path.name.split(".")[0]) for path in mirror.folder.glob("metadata/*.targets.json")]
    (mirror.folder / "metadata" / f"{max(versions) + 1}.targets.json").write_bytes(waiting)
    thief.renew()
    refused(device, "not to be trusted.*targets was signed by 1/2 keys")


def test_a_stolen_key_is_replaced_and_then_counts_no_more(mirror: Owned, device: UpdatedDevice, tmp_path: Path) -> None:
    keys = shutil.copytree(mirror.keys, tmp_path / "keys")
    owned = Owned(mirror.folder, keys)
    owners.make_key(keys / "new.pem")
    owned.owner.replace_owner(keys / "c.pub", keys / "new.pub")
    assert device.updater.check().latest == "r2"
    owned.release("r3", by=owned.by("a", "c", "daily"))
    assert device.updater.check().latest == "r2", "the old key does not count"
    owned.by("new", "daily").sign()
    assert device.updater.check().latest == "r3"


def test_owners_sign_one_after_the_other_on_machines_of_their_own(tmp_path: Path) -> None:
    owned = make_repository(tmp_path)
    owned.release("r1", by=owned.by("a"))
    device = make_device(tmp_path / "porch", owned)
    assert device.updater.check().latest is None
    owned.by("c").sign()
    assert device.updater.check().latest is None, "the daily key has not said that it is the newest"
    owned.by("daily").renew()
    assert device.updater.check().latest == "r1"


# -- a mirror that lies over HTTP -----------------------------------------------------------------------------------


def _endless(request: SimpleHTTPRequestHandler) -> Iterator[bytes]:
    while True:
        yield bytes(65_536)


def _drip(request: SimpleHTTPRequestHandler) -> Iterator[bytes]:
    while True:
        time.sleep(0.02)
        yield b" "


def _captive_portal(request: SimpleHTTPRequestHandler) -> Iterator[bytes]:
    yield b"<html>Welcome to our hotel</html>"


@pytest.mark.parametrize("what", ["timestamp.json", ".snapshot.json", "classifier.tflite", "2.root.json"])
@pytest.mark.parametrize("body", [_endless, _drip, _captive_portal])
def test_a_mirror_that_never_ends_or_says_something_else_costs_little(
    body: Callable[[SimpleHTTPRequestHandler], Iterator[bytes]],
    what: str,
    made: Owned,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "MOST_S", 0.2)

    def lie(request: SimpleHTTPRequestHandler) -> bool:
        if not request.path.endswith(what):
            return False
        request.send_response(200)
        request.end_headers()
        with suppress(OSError):
            for part in body(request):
                request.wfile.write(part)
        return True

    with served(made.folder, lie) as url:
        refused(make_device(tmp_path / "porch", made, url), "cannot be fetched|not to be trusted")


def test_a_signed_file_that_is_too_long_for_a_device_is_not_fetched(
    device: UpdatedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MOST_BYTES", 10_000)
    refused(device, "bytes; at most 10,000 are taken")


def test_a_mirror_that_is_not_there_is_told_with_its_address(made: Owned, tmp_path: Path) -> None:
    device = make_device(tmp_path / "porch", made, "http://127.0.0.1:9")
    assert "127.0.0.1:9" in refused(device, "cannot be fetched")


def test_without_the_package_cryptography_signatures_are_verified_all_the_same(
    mirror: Owned, device: UpdatedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Raspberry Pi needs no compiled package for it."""
    from securesystemslib.signer import _key

    mirror.by("daily").renew()
    monkeypatch.setattr(_key, "CRYPTO_IMPORT_ERROR", "not installed")
    assert device.updater.check().latest == "r2"
    newest = mirror.folder / "metadata" / "timestamp.json"
    newest.write_bytes(newest.read_bytes().replace(b'"version":', b'"version":1'))
    refused(device, "not to be trusted")
