"""The models' folder of a device: whole releases, and one small file that says which of them is in use.

::

    state.json           which release is in use, which was before, which is being tried
    releases/NAME/       never changed once it has this name
    releases/NAME.part/  being fetched
    trust/               metadata of The Update Framework: what was signed, and may not become older

Only the updater writes here. Every step ends with the rename of one file or folder, so it may be killed at any moment.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import AwareDatetime, Field, ValidationError

from edge_agent.errors import UpdateError
from edge_agent.host.files import sync_files, sync_folder, write_atomically
from edge_agent.updates.release import OWN, RELEASE, Release, ReleaseName, Strict

MOST_BYTES = 1 << 20
"""Of state.json or updates.json: more than they ever have."""
KEPT_REFUSALS = 20


class State(Strict):
    """``state.json``; a release that is None means the package's own models."""

    current: ReleaseName | None = None
    previous: ReleaseName | None = None
    candidate: ReleaseName | None = None
    """Fetched, verified and self-tested; the agent tries it beside the present one."""
    pinned: bool = False
    """Stay with ``current`` until somebody says otherwise."""
    refused: dict[ReleaseName, str] = Field(default_factory=dict)
    """Releases that failed here, or that somebody went back from, and why."""
    latest: ReleaseName | None = None
    """Where this device's channel leads."""
    improves: str = ""
    """What ``latest`` says of itself."""
    held: str = ""
    """Why ``latest`` is not taken; empty where it is, or will be."""
    checked: AwareDatetime | None = None
    """When the repository was last looked at."""
    obeyed: str = ""
    """The agent's last request that was carried out."""

    def switched(self, name: ReleaseName | None) -> State:
        """With ``name`` in use, and what was in use kept."""
        return self.model_copy(update={"current": name, "previous": self.current, "candidate": None, "held": ""})

    def refusing(self, name: ReleaseName, why: str) -> State:
        """Without ``name``, which is not taken again by itself; the package's own models replace the one in use."""
        kept = dict(list({**self.refused, name: why}.items())[-KEPT_REFUSALS:])
        changes: dict[str, object] = {"refused": kept}
        if name == self.latest:
            changes["held"] = why
        if name == self.candidate:
            changes["candidate"] = None
        if name == self.current:
            changes |= {"current": self.previous, "previous": None}
        if name == self.previous:
            changes["previous"] = None
        return self.model_copy(update=changes)


class ModelsFolder:
    """See the module; ``path`` may be missing, then nothing was ever updated."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trust = path / "trust"
        self._state = path / "state.json"

    def read(self) -> State:
        """The state as it is now; raises UpdateError where it is damaged."""
        try:
            with self._state.open("rb") as file:
                return State.model_validate_json(file.read(MOST_BYTES))
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise UpdateError(f"{self._state}: {error.strerror}") from error
        except ValidationError:
            raise UpdateError(
                f"{self._state}: damaged, so {OWN} are in use; delete it, and run: edge-agent model update"
            ) from None

    def write(self, state: State) -> None:
        """Replace the state; raises UpdateError."""
        with _told(self._state):
            write_atomically(self._state, state.model_dump_json(indent=1).encode() + b"\n", mode=0o644)

    def stamp(self) -> tuple[int, int]:
        """Differs once the state was replaced."""
        try:
            seen = self._state.stat()
        except OSError:
            return 0, 0
        return seen.st_ino, seen.st_mtime_ns

    def release(self, name: ReleaseName) -> Path:
        """Where a release is, or would be."""
        return self.path / "releases" / name

    def has(self, name: ReleaseName) -> bool:
        """Whether it is there, whole."""
        return (self.release(name) / RELEASE).is_file()

    def about(self, name: ReleaseName) -> Release:
        """What a release that is there says of itself; raises UpdateError."""
        path = self.release(name) / RELEASE
        try:
            return Release.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise UpdateError(f"{path}: damaged: {str(error).splitlines()[0]}") from error

    def install(self, name: ReleaseName, fill: Callable[[Path], None]) -> None:
        """Let ``fill`` write a release's files, and give the folder its name once all are on the disk."""
        part = self.release(f"{name}.part")
        with _told(part):
            part.mkdir(parents=True, exist_ok=True)
            fill(part)
            sync_files(part)
            if self.has(name):
                self.remove(name)
            part.rename(self.release(name))
            sync_folder(part.parent)

    def remove(self, name: str) -> None:
        """Delete a release that nothing leads to; ``release.json`` last of all, so a rest is no release."""
        folder = self.release(name)
        (folder / RELEASE).unlink(missing_ok=True)
        shutil.rmtree(folder)

    def prune(self, state: State) -> None:
        """Delete what the state does not lead to."""
        kept = {state.current, state.previous, state.candidate, f"{state.latest}.part"}
        with _told(self.path):
            for each in (self.path / "releases").glob("*"):
                if each.name not in kept:
                    self.remove(each.name)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Only one updater at a time; raises UpdateError where another one works here."""
        with _told(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise UpdateError(f"{self.path}: another updater works here; try again when it is done") from None
        finally:
            os.close(handle)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """A full disk or a missing right becomes one line."""
    try:
        yield
    except OSError as error:
        raise UpdateError(f"{error.filename or path}: {error.strerror}; nothing was switched") from error
