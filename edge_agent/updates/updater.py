"""The updater: from what the channel offers to the release in use, one recorded step after the other.

::

    fetched and verified   the folder gets its name
    self-tested            it becomes the candidate
    tried by the agent     the verdict, in the agent's file
    in use                 ``current``; the agent switches between two windows

Every step may be interrupted. The next run looks at what is there, and goes on.
"""

from __future__ import annotations

import logging
import os
import pwd
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from edge_agent import __version__
from edge_agent.config import Config
from edge_agent.errors import ModelError, UpdateError
from edge_agent.host.runtime import runs_on
from edge_agent.updates.folder import ModelsFolder, State
from edge_agent.updates.news import News, news_path, read_news
from edge_agent.updates.release import CLASSIFIER, OWN, Device, Release, ReleaseName
from edge_agent.updates.repository import Repository
from edge_agent.updates.selftest import try_out
from edge_agent.vision.model import default_model_path, read_info
from edge_agent.vision.site_file import site_path

log = logging.getLogger(__name__)

LOOK_AGAIN = timedelta(hours=1)
"""A verdict of the agent starts the updater, too, and needs no repository."""
_BOARD = Path("/proc/device-tree/model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person asked for; without one, the timer acts."""

    without_site: bool = False
    """Take it although this site's calibration was made for another classifier."""
    without_shadow: bool = False
    """Take it at once, without a try beside the present model."""


BY_DEFAULT = Wish()


class Updater:
    """Does one thing at a time; each method may take minutes.

    Args:
        config: the device's; ``model.path`` must be empty, or there is nothing that an update could change.
        source: another place than ``updates.source``, e.g. a USB stick.

    Raises:
        UpdateError: nothing could be done, and why. What was in use stays in use.
    """

    def __init__(self, config: Config, source: str | None = None) -> None:
        if config.model.path is not None:
            raise UpdateError(f"model.path names {config.model.path}, which no update replaces: take that line out")
        self._config = config
        self._source = source or config.updates.source
        self._folder = ModelsFolder(config.updates.folder)

    def check(self) -> State:
        """Look what the channel offers, and take nothing."""
        with self._folder.alone():
            state = self._follow(self._folder.read())
            return self._look(self._repository(), state, asked=True)

    def update(self, wish: Wish = BY_DEFAULT) -> State:
        """Take what the channel offers, as far as can be done now: a person asked for it."""
        with self._folder.alone():
            state = self._follow(self._folder.read())
            repository = self._repository()
            state = self._look(repository, state, asked=True)
            if state.held or state.latest is None:
                return state
            return self._take(repository, state, name=state.latest, wish=wish)

    def scheduled(self) -> State:
        """What the timer and the agent's news start: carry on, and look once an hour."""
        with self._folder.alone():
            state, news = self._follow(self._folder.read()), self._news()
            asked = news.asked != state.obeyed
            now = datetime.now(timezone.utc)
            rested = state.checked is None or not timedelta() <= now - state.checked < LOOK_AGAIN
            if self._source is None or not (asked or rested):
                return state
            repository = self._repository()
            state = self._look(repository, state, asked=asked)
            state = self._write(state.model_copy(update={"obeyed": news.asked}))
            if state.held or state.latest is None or not (asked or self._config.updates.automatic):
                return state
            return self._take(repository, state, name=state.latest, wish=BY_DEFAULT)

    def roll_back(self) -> State:
        """Return to what was in use before; what is in use is not taken again by itself."""
        with self._folder.alone():
            state = self._follow(self._folder.read())
            if state.current is None:
                raise UpdateError(f"{OWN} are in use; there is nothing to go back to")
            return self._write(state.refusing(state.current, "somebody went back from it"))

    def pin(self, name: ReleaseName | None = None, wish: Wish = BY_DEFAULT) -> State:
        """Stay with what is in use, or take this release of the repository and stay with it."""
        with self._folder.alone():
            state = self._follow(self._folder.read())
            if name is None or name == state.current:
                return self._write(state.model_copy(update={"pinned": True, "candidate": None}))
            refused = {each: why for each, why in state.refused.items() if each != name}
            state = self._take(self._repository(), state.model_copy(update={"refused": refused}), name=name, wish=wish)
            if state.held:
                raise UpdateError(state.held)
            return self._write(state.model_copy(update={"pinned": True}))

    def unpin(self) -> State:
        """Follow the channel again."""
        with self._folder.alone():
            return self._write(self._folder.read().model_copy(update={"pinned": False, "held": ""}))

    # -- the steps ----------------------------------------------------------------------------------------------

    def _follow(self, state: State) -> State:
        """Do what the agent's verdicts ask for."""
        verdicts = self._news().verdicts
        if state.candidate is not None and (tried := verdicts.get(state.candidate)) and tried.phase == "shadow":
            if tried.passed:
                log.info("%s passed its try and is used from the next window on", state.candidate)
                return self._write(state.switched(state.candidate))
            if tried.passed is False:
                log.error("%s is refused: %s", state.candidate, tried.why)
                return self._write(state.refusing(state.candidate, tried.why))
        tried = None if state.current is None else verdicts.get(state.current)
        if state.current is not None and tried is not None and tried.phase == "probation" and tried.passed is False:
            log.error("%s is given up, back to %s: %s", state.current, state.previous or OWN, tried.why)
            return self._write(state.refusing(state.current, tried.why))
        return state

    def _look(self, repository: Repository, state: State, *, asked: bool) -> State:
        """Note where the channel leads, and what speaks against going there."""
        offer = repository.channels().offer(self._config.updates.channel)
        latest = None if offer is None else repository.release(offer.release)
        held = ""
        if latest is not None and offer is not None and latest.name not in (state.current, state.candidate):
            if state.pinned:
                held = f"{state.current or OWN} are pinned: edge-agent model pin --off"
            elif latest.name in state.refused:
                held = state.refused[latest.name]
            elif not asked and not offer.includes(self._config.device.id):
                held = f"rolled out to {offer.percent:g} % of the devices so far, and not to this one"
        return self._write(
            state.model_copy(
                update={
                    "latest": None if latest is None else latest.name,
                    "improves": "" if latest is None else latest.improves,
                    "held": held,
                    "checked": datetime.now(timezone.utc),
                }
            )
        )

    def _take(self, repository: Repository, state: State, *, name: ReleaseName, wish: Wish) -> State:
        """Fetch, verify and self-test it, and let the agent try it; stop where something speaks against it."""
        if name == state.current:
            return state
        release = repository.release(name)
        if held := release.misfit(self._device()) or self._site_speaks_against(release, state, wish):
            return self._write(state.model_copy(update={"held": held}))
        if not repository.has_whole(name, self._folder.release(name)):
            self._folder.install(name, lambda part: repository.fetch(name, part))
        if name != state.candidate:
            try:
                try_out(self._folder.release(name), self._config.model.runtime)
            except ModelError as error:
                return self._write(state.refusing(name, str(error)).model_copy(update={"held": str(error)}))
        changes = state.switched(name) if wish.without_shadow else state.model_copy(update={"candidate": name})
        return self._write(changes.model_copy(update={"held": ""}))

    def _site_speaks_against(self, release: Release, state: State, wish: Wish) -> str:
        """A site's calibration was made for one classifier; with another one it would be set aside."""
        if wish.without_site or not site_path(self._config).exists():
            return ""
        present = default_model_path() if state.current is None else self._folder.release(state.current) / CLASSIFIER
        if read_info(present.with_suffix(".json")).sha256 == release.classifier_sha256:
            return ""
        return (
            f"{release.name} has another classifier than this site was calibrated for, so the present one stays: "
            "edge-agent model update --without-site, then calibrate again"
        )

    def _device(self) -> Device:
        return Device(__version__, runs_on(self._config.model.runtime), _board())

    def _repository(self) -> Repository:
        if self._source is None:
            raise UpdateError("updates.source is not set: there is nowhere to look; name it, or give --from")
        return Repository(source=self._source, root=self._config.updates.root_file, trust=self._folder.trust)

    def _news(self) -> News:
        return read_news(news_path(self._config))

    def _write(self, state: State) -> State:
        self._folder.write(state)
        self._folder.prune(state)
        return state


def become_owner_of(folder: Path) -> None:
    """As root, go on as the updater's own user: what is fetched is read with its rights, and files stay its own."""
    if os.geteuid() != 0:
        return
    try:
        owner = pwd.getpwuid(folder.stat().st_uid)
    except FileNotFoundError:
        return
    if owner.pw_uid != 0:
        os.initgroups(owner.pw_name, owner.pw_gid)
        os.setgid(owner.pw_gid)
        os.setuid(owner.pw_uid)


def _board() -> str:
    try:
        return _BOARD.read_text(encoding="ascii").rstrip("\0")
    except (OSError, ValueError):
        return ""
