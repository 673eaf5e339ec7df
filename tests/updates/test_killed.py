"""The updater is killed before each single step that it takes on the disk; what is left works, and is gone on with."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.updates import updater
from edge_agent.updates.news import News, Verdict, news_path, write_news
from edge_agent.updates.release import CLASSIFIER
from edge_agent.vision.model import load_model
from tests.support.model_releases import SHIPPED, UpdatedDevice, make_device, make_repository

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.truncate", "os.chmod", "os.link"}
Job = Callable[[UpdatedDevice], object]


def killed_before(step: int, job: Job, device: UpdatedDevice) -> bool:
    """Whether the job was killed: by SIGKILL right before the ``step``-th change of the disk."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)
    try:
        seen = 0

        def hook(event: str, arguments: Any) -> None:
            nonlocal seen
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if event in CHANGES or writes:
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        job(device)
        os._exit(0)
    finally:
        os._exit(1)


def works(device: UpdatedDevice) -> str:
    """What the agent would use now is there, whole."""
    state = device.state
    for name in (state.current, state.candidate):
        if name is not None:
            load_model(device.folder.release(name) / CLASSIFIER)
            assert device.folder.about(name).name == name
    return state.current or "own"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UpdatedDevice:
    """On r1, offered r2. The self-test has a process of its own, which writes nothing."""
    monkeypatch.setattr(updater, "try_out", lambda _folder, _runtime: None)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)  # the kernel outlives a kill, and disks are slow
    owned = make_repository(tmp_path)
    owned.release("r1")
    device = make_device(tmp_path / "porch", owned)
    device.updater.update(updater.Wish(without_shadow=True))
    owned.release("r2", SHIPPED)
    return device


def _update(device: UpdatedDevice) -> None:
    device.updater.update()


def _switch(device: UpdatedDevice) -> None:
    write_news(news_path(device.config), News(verdicts={"r2": Verdict(phase="shadow", passed=True)}))
    device.updater.scheduled()


def _roll_back(device: UpdatedDevice) -> None:
    write_news(news_path(device.config), News(verdicts={"r2": Verdict(phase="probation", passed=False, why="slow")}))
    device.updater.scheduled()


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.device)])
@pytest.mark.parametrize(
    ("before", "job", "ends"),
    [([], _update, ("r1", "r2")), ([_update], _switch, ("r2", None)), ([_update, _switch], _roll_back, ("r1", None))],
)
def test_killed_at_any_step_the_device_works_and_the_next_run_goes_on(
    before: list[Job], job: Job, ends: tuple[str, str | None], stride: int, device: UpdatedDevice, tmp_path: Path
) -> None:
    for each in before:
        each(device)
    shutil.copytree(tmp_path / "porch", tmp_path / "kept", symlinks=True)
    step, used = 1 - stride, []
    while True:
        step += stride
        killed = killed_before(step, job, device)
        used.append(works(device))
        job(device)
        assert (device.state.current, device.state.candidate) == ends
        works(device)
        assert not list((tmp_path / "porch").rglob("*.part")), "nothing stays behind"
        if not killed:
            break
        shutil.rmtree(tmp_path / "porch")
        shutil.copytree(tmp_path / "kept", tmp_path / "porch", symlinks=True)
    assert step > 8, "it was killed, and more than once"
    assert used == sorted(used, key=lambda name: name == ends[0]), "it switches once"
