"""A signed repository of releases, on a web server or in a folder, through The Update Framework's own client.

The framework keeps what matters: signatures by enough keys, no return to older metadata, expiry, lengths and hashes.
Here are only how bytes are read, what a clock in the past means, and what our files in it are called.
https://theupdateframework.github.io/specification/latest/
"""

from __future__ import annotations

import http.client
import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from edge_agent.errors import MissingPackageError, UpdateError
from edge_agent.host.files import sync_files
from edge_agent.updates.release import CHANNELS, FILES, RELEASE, Channels, Release, ReleaseName

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile
    from tuf.ngclient import FetcherInterface
    from tuf.ngclient import Updater as Client

MOST_BYTES = 64_000_000
"""Of one file; a classifier has half a megabyte."""
MOST_S = 600.0
"""A mirror that is so slow that everything takes longer is given up."""
SILENT_S = 20.0
"""A mirror that says nothing for longer is given up."""
MADE = "x-countenance-made"
"""Our field in timestamp.json: when it was signed."""
CLOCK_MARGIN = timedelta(days=1)

_Described = TypeVar("_Described", bound=BaseModel)


class Repository:
    """One look at a repository.

    Args:
        source: an http, https or file URL, or a folder.
        root: the metadata that says whose signatures count, which came with the device.
        trust: folder of what was signed and seen so far.

    Raises:
        MissingPackageError: the package tuf is not installed.
        UpdateError: ``root`` cannot be read, the repository cannot be reached, or it is not to be trusted; every method
            raises it, and says which.
    """

    def __init__(self, *, source: str, root: Path, trust: Path) -> None:
        try:
            from tuf.ngclient import Updater as Client
        except ImportError as error:
            raise MissingPackageError(f"a package is missing ({error}): pip install 'countenance[updates]'") from error

        self._trust = trust
        self._source = (source if "://" in source else Path(source).absolute().as_uri()).rstrip("/")
        try:
            trusted = root.read_bytes()
        except OSError as error:
            raise UpdateError(
                f"{root}: cannot read whose signatures count: {error.strerror}; copy the first root.json there"
            ) from error
        with _translated(self._source):
            trust.mkdir(parents=True, exist_ok=True)
            self._check_clock()
            self._client: Client = Client(
                str(trust),
                f"{self._source}/metadata/",
                target_base_url=f"{self._source}/targets/",
                fetcher=_fetcher(),
                bootstrap=trusted,
            )
            self._client.refresh()
            sync_files(trust)  # the framework does not: after a power cut older ones could be back
            self._check_clock()

    def channels(self) -> Channels:
        """Where each channel leads."""
        return self._described(CHANNELS, Channels)

    def release(self, name: ReleaseName) -> Release:
        """What a release says of itself."""
        release = self._described(f"{name}/{RELEASE}", Release)
        if release.name != name:
            raise UpdateError(f"{self._source}: what is signed as {name} calls itself {release.name}")
        return release

    def fetch(self, name: ReleaseName, folder: Path) -> None:
        """Put a release's files into ``folder``; those that are there and are right are not fetched again."""
        with _translated(self._source):
            # What says that the folder is a release comes last.
            for file in reversed(FILES):
                path, target = folder / file, self._target(f"{name}/{file}")
                if self._client.find_cached_target(target, str(path)) is None:
                    self._client.download_target(target, str(path))

    def has_whole(self, name: ReleaseName, folder: Path) -> bool:
        """Whether ``folder`` holds exactly the release that was signed."""
        with _translated(self._source):
            return all(
                self._client.find_cached_target(self._target(f"{name}/{file}"), str(folder / file)) for file in FILES
            )

    def _described(self, path: str, form: type[_Described]) -> _Described:
        with _translated(self._source), tempfile.TemporaryDirectory() as folder:
            text = Path(self._client.download_target(self._target(path), f"{folder}/read")).read_bytes()
        try:
            return form.model_validate_json(text)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"]))
            raise UpdateError(
                f"{self._source}: {path} is signed, and this version cannot read it ({where}: {fault['msg']}); "
                "update the agent"
            ) from error

    def _target(self, path: str) -> TargetFile:
        target = self._client.get_targetinfo(path)
        if target is None:
            raise UpdateError(f"{self._source}: there is no {path} among what is signed")
        if target.length > MOST_BYTES:
            raise UpdateError(f"{self._source}: {path} has {target.length:,} bytes; at most {MOST_BYTES:,} are taken")
        return target

    def _check_clock(self) -> None:
        """A clock in the past would take expired metadata for good: it cannot be earlier than what was signed."""
        try:
            made = json.loads((self._trust / "timestamp.json").read_bytes())["signed"].get(MADE)
        except (OSError, ValueError, LookupError):
            return  # never looked before, or cut off by a power cut: the framework fetches it again
        now = datetime.now(timezone.utc)
        if made is not None and now < datetime.fromisoformat(made) - CLOCK_MARGIN:
            raise UpdateError(
                f"{self._source}: this device's clock says {now:%Y-%m-%d %H:%M}, but the repository was signed on "
                f"{made[:10]}: set the clock, nothing was updated"
            )


def _fetcher() -> FetcherInterface:
    from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
    from tuf.ngclient import FetcherInterface

    class Fetcher(FetcherInterface):
        """Reads http, https and file URLs; bounded in time, also where one byte comes every second."""

        def __init__(self) -> None:
            self._by_s = time.monotonic() + MOST_S

        def _fetch(self, url: str) -> Iterator[bytes]:
            try:
                with urllib.request.urlopen(url, timeout=SILENT_S) as response:  # noqa: S310 (its content is verified)
                    while chunk := response.read1(65_536):
                        if time.monotonic() > self._by_s:
                            raise SlowRetrievalError(f"{url}: given up after {MOST_S:g} s")
                        yield chunk
            except urllib.error.HTTPError as error:
                raise DownloadHTTPError(f"{url}: {error}", error.code) from error
            except urllib.error.URLError as error:
                if isinstance(error.reason, FileNotFoundError) or "No such file" in str(error.reason):
                    raise DownloadHTTPError(f"{url}: not there", 404) from error
                raise DownloadError(f"{url}: {error.reason}") from error
            except (OSError, http.client.HTTPException) as error:
                raise DownloadError(f"{url}: {error or type(error).__name__}") from error

    return Fetcher()


@contextmanager
def _translated(source: str) -> Iterator[None]:
    """The framework's errors as one line that says what to do."""
    from tuf.api.exceptions import DownloadError, ExpiredMetadataError, RepositoryError

    try:
        yield
    except ExpiredMetadataError as error:
        raise UpdateError(
            f"{source}: {error}: who runs the repository must renew it (python -m quantization release renew), or this "
            "device's clock is ahead; nothing was updated"
        ) from error
    except RepositoryError as error:
        raise UpdateError(f"{source}: not to be trusted, nothing was updated: {error}") from error
    except DownloadError as error:
        raise UpdateError(f"{source}: cannot be fetched, nothing was updated: {error}") from error
    except OSError as error:
        raise UpdateError(f"{error.filename or source}: {error.strerror or error}; nothing was updated") from error
