"""A signed repository of models with three owners, a web server for it, and a device that updates from it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.config import Config
from edge_agent.updates.folder import ModelsFolder, State
from edge_agent.updates.updater import Updater
from edge_agent.vision.model import MODELS
from quantization.release import Repository, describe, make_key
from tests.support.faces import astronaut_bgr

SHIPPED, TINY = MODELS / "emotion.tflite", MODELS / "tiny.tflite"
FACES = MODELS.parent / "detectors" / "faces.tflite"


@dataclass(frozen=True)
class Owned:
    """A repository, and the folder of its keys ``a``, ``b``, ``c`` (owners, two of whom must agree) and ``daily``."""

    folder: Path
    keys: Path

    def by(self, *names: str) -> Repository:
        """In the hands of somebody who has these keys."""
        return Repository(self.folder, [self.keys / f"{name}.pem" for name in names])

    @property
    def owner(self) -> Repository:
        """In the hands of two owners and the daily key."""
        return self.by("a", "b", "daily")

    @property
    def root(self) -> Path:
        """What a device is given beforehand."""
        return self.folder / "metadata" / "1.root.json"

    def release(
        self,
        name: str,
        classifier: Path = TINY,
        *,
        channel: Any = "stable",
        percent: float = 100.0,
        least_agreement: float = 0.0,
        by: Repository | None = None,
        **described: Any,
    ) -> None:
        """Make a release and let a channel lead to it."""
        card = self.keys / "card.md"
        card.write_text("# What it is\n")
        form = describe(
            name,
            improves="reads children better",
            classifier=classifier,
            least_agreement=least_agreement,
            **{"agent": "0.1.0", **described},
        )
        repository = by or self.owner
        repository.add(form, classifier=classifier, detector=FACES, card=card)
        repository.roll_out(name, channel, percent)


def make_repository(folder: Path) -> Owned:
    """An empty one, signed by its owners ``a`` and ``b``."""
    keys = folder / "keys"
    keys.mkdir(parents=True)
    for name in ("a", "b", "c", "daily"):
        make_key(keys / f"{name}.pem")
    owned = Owned(folder / "repository", keys)
    owned.owner.create(owners=[keys / f"{name}.pub" for name in "abc"], threshold=2, daily=keys / "daily.pub")
    return owned


@dataclass(frozen=True)
class UpdatedDevice:
    """A device's folders."""

    config: Config

    @property
    def updater(self) -> Updater:
        return Updater(self.config)

    @property
    def folder(self) -> ModelsFolder:
        return ModelsFolder(self.config.updates.folder)

    @property
    def state(self) -> State:
        return self.folder.read()


def make_device(folder: Path, repository: Owned, source: str | None = None, **sections: Any) -> UpdatedDevice:
    """A device that knows the repository's first root."""
    folder.mkdir(parents=True, exist_ok=True)
    root = shutil.copy(repository.root, folder / "root.json")
    updates = {"source": source or str(repository.folder), "folder": folder / "models", "root_file": root}
    values = {"device": {"id": folder.name}, "store": {"path": folder / "windows.sqlite"}, **sections}
    values["updates"] = {**updates, **sections.get("updates", {})}
    return UpdatedDevice(Config.model_validate(values))


def crowd() -> NDArray[np.uint8]:
    """A face twelve times, each a little brighter than the one before; shape (480, 640, 3)."""
    face = cv2.resize(astronaut_bgr()[:250, 90:350], (160, 160), interpolation=cv2.INTER_AREA)
    rows = [[face * (0.75 + 0.01 * (4 * row + column)) for column in range(4)] for row in range(3)]
    return np.vstack([np.hstack(row) for row in rows]).clip(0, 255).astype(np.uint8)


def with_json(folder: Path, model: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a model with another .json."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = shutil.copy(model, folder)
    info = json.loads(model.with_suffix(".json").read_text())
    change(info)
    Path(copy).with_suffix(".json").write_text(json.dumps(info))
    return Path(copy)


@contextmanager
def served(folder: Path, answer: Callable[[SimpleHTTPRequestHandler], bool] = lambda _request: False) -> Iterator[str]:
    """The URL of a web server for a folder; ``answer`` may do otherwise, and says whether it has."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if not answer(self):
                super().do_GET()

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
