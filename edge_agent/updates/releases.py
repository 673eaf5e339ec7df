"""The agent's side of updates: which models are in use, how a candidate does beside them, and what the updater hears.

The agent never writes where models are. It reads ``state.json`` whenever a window ends, and switches by starting over
with other files, as it does for another configuration.
"""

from __future__ import annotations

import logging
import secrets
import statistics
import time
from collections import deque
from types import TracebackType
from typing import Literal

from edge_agent.config import Config
from edge_agent.detectors import Detector, load_detector
from edge_agent.errors import CountenanceError, ModelError, UpdateError
from edge_agent.host.machine import rss_bytes
from edge_agent.types import Frame, ModelsState, WindowReport
from edge_agent.updates.folder import ModelsFolder, State
from edge_agent.updates.news import News, Verdict, news_path, read_news, write_news
from edge_agent.updates.release import CLASSIFIER, DETECTOR, OWN, ReleaseName
from edge_agent.updates.selftest import check_release
from edge_agent.updates.shadow import KEPT_TIMES, Shadow
from edge_agent.vision.classifier import Classifier, load_classifier
from edge_agent.vision.site_file import site_path

log = logging.getLogger(__name__)

MOST_STARTS = 3
"""A release with which the agent ended abnormally so often in a row is given up."""
PROBATION_S = 600.0
"""Seconds of reading after which a release has proved itself."""
LEAST_PICTURES = 100
"""Before a release is called too slow."""
Phase = Literal["shadow", "probation"]


def in_use(config: Config) -> Config:
    """The configuration with the files of the release in use; as it is where there is none, or a file is named."""
    if config.model.path is not None:
        return config
    folder = ModelsFolder(config.updates.folder)
    try:
        state = folder.read()
    except UpdateError as error:
        log.error("%s", error)
        return config
    if state.current is None and state.previous is None:
        return config
    names = _usable(folder, state, read_news(news_path(config)))
    return _with(config, folder, names[0]) if names else config


class Releases:
    """Belongs to the agent's loop. As a context manager it knows whether the agent ended abnormally.

    Args:
        config: as it was read, without a release's files.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._folder = ModelsFolder(config.updates.folder)
        self._path = news_path(config)
        self._news = read_news(self._path)
        self._stamp = self._folder.stamp()
        self.state = self._read()
        self.release: ReleaseName | None = None
        """The one in use; None: the package's own models, or files that the configuration names."""
        self.restart_due = False
        """Other models should be in use than are."""
        self._name = ""
        self._candidate: ReleaseName | None = None
        self._shadow: Shadow | None = None
        self._memory_before: int | None = None
        self._times_s: deque[float] = deque(maxlen=KEPT_TIMES)
        self._read_s, self._last_s = 0.0, time.monotonic()

    def open(self) -> tuple[Config, Classifier, Detector]:
        """The models in use, self-tested, and the configuration with their files; a release that fails is given up.

        Raises:
            CountenanceError: the package's own models, or the configured ones, do not work.
        """
        config = self._config
        names = [] if config.model.path is not None else _usable(self._folder, self.state, self._news)
        for name in names:
            if not self._may_begin(name, "probation"):
                continue
            used = _with(config, self._folder, name)
            try:
                classifier, detector = _load(used)
                check_release(classifier, self._folder.release(name), config.model.runtime)
            except ModelError as error:
                self._fail(name, "probation", str(error))
                continue
            self._undo(name)  # what else may go wrong before the loop begins is not its fault
            self.release, self._name = name, classifier.model.info.name
            return used, classifier, detector
        classifier, detector = _load(config)
        classifier.self_test()
        self._name = classifier.model.info.name
        return config, classifier, detector

    def __enter__(self) -> Releases:
        if self.release is not None:
            self._may_begin(self.release, "probation")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        # What is wrong with camera, store or an address is no release's fault; a defect may be.
        if kind is None or issubclass(kind, CountenanceError):
            for name in (self.release, self._candidate):
                if name is not None:
                    self._end(name)

    def ask(self) -> None:
        """Ask the updater for what the channel offers; it takes that for this device also where a percentage leaves it
        out."""
        self._write(self._news.model_copy(update={"asked": secrets.token_hex(8)}))

    # -- the loop -----------------------------------------------------------------------------------------------

    def saw(self, frame: Frame, took_s: float) -> None:
        """The present models read this picture in so many seconds; now the candidate's turn."""
        self._times_s.append(took_s)
        if self._shadow is not None and self._candidate is not None:
            try:
                self._shadow.process(frame)
            except (CountenanceError, RuntimeError, ValueError) as error:  # what an interpreter raises
                self._fail(self._candidate, "shadow", f"it cannot read a picture: {error}")

    def forget(self) -> None:
        """The camera was paused, or shows something else."""
        if self._shadow is not None:
            self._shadow.forget()

    def closed(self, report: WindowReport, now_s: float) -> None:
        """A window has ended: compare, judge, and see what the updater has written."""
        elapsed_s, self._last_s = time.monotonic() - self._last_s, time.monotonic()
        if report.frames:
            self._read_s += elapsed_s
        if self._shadow is not None:
            self._shadow.close(report, now_s)
            self._judge_candidate(self._shadow)
        self._judge_present()
        stamp = self._folder.stamp()
        if stamp != self._stamp:
            self._stamp, self.state = stamp, self._read()
            self._forget_others()
        self._follow()

    @property
    def told(self) -> ModelsState:
        """What everybody may know."""
        agreed = [each.agreement for each in self._news.verdicts.values() if each.agreement is not None]
        state = self.state
        return ModelsState(
            name=self._name,
            release=self.release,
            channel=self._config.updates.channel,
            latest=None if state.latest in state.refused else state.latest,
            improves=state.improves,
            trying=state.candidate,
            held=state.held,
            agreement=agreed[-1] if agreed else None,
        )

    def _follow(self) -> None:
        """Switch where another release is to be in use, and begin or end a try where the candidate changed."""
        if self._config.model.path is not None:
            return
        wanted = next(iter(_usable(self._folder, self.state, self._news)), None)
        if wanted != self.release:
            log.info("switching from %s to %s", self.release or OWN, wanted or OWN)
            self.restart_due = True
        elif (candidate := self.state.candidate) != self._candidate:
            self._leave()
            if candidate is not None and self._is_proved(self.release):
                self._begin_shadow(candidate)

    def _is_proved(self, name: ReleaseName | None) -> bool:
        verdict = None if name is None else self._verdict(name)
        return verdict is None or (verdict.phase == "probation" and verdict.passed is True)

    def _begin_shadow(self, name: ReleaseName) -> None:
        verdict = self._verdict(name)
        if verdict is not None and verdict.phase == "shadow" and verdict.passed is not None:
            return  # the updater has not read it yet
        if not self._may_begin(name, "shadow"):
            return
        self._candidate, self._memory_before = name, rss_bytes()
        used = _with(self._config, self._folder, name)
        try:
            classifier, detector = _load(used)
            check_release(classifier, self._folder.release(name), used.model.runtime)
        except CountenanceError as error:
            self._fail(name, "shadow", str(error))
            return
        self._shadow = Shadow(self._config, classifier, detector)
        log.info("trying %s beside %s", name, self.release or OWN)

    def _leave(self) -> None:
        self._candidate, self._shadow = None, None

    # -- judging ------------------------------------------------------------------------------------------------

    def _judge_candidate(self, shadow: Shadow) -> None:
        name, agreement, ms, present_ms = self._candidate, shadow.agreement, shadow.ms, self._present_ms
        if name is None or agreement is None or ms is None:
            return
        try:
            least = self._folder.about(name).least_agreement
        except UpdateError as error:
            self._fail(name, "shadow", str(error))
            return
        why = self._too_slow(ms, present_ms)
        if agreement < least:
            why = f"its shares agree with the present ones in {agreement:g} %, and it states {least:g}"
        memory = rss_bytes()
        known = memory is not None and self._memory_before is not None
        verdict = Verdict(
            phase="shadow",
            passed=not why,
            why=why,
            people=shadow.people,
            agreement=agreement,
            ms=ms,
            ms_present=present_ms,
            memory_mb=round((memory - self._memory_before) / 1e6, 1) if known else None,  # type: ignore[operator]
        )
        log.info(
            "%s %s beside the present model: agreement %g %% over %d people, %g ms a picture instead of %g, %s MB more",
            name, f"does not pass ({why})" if why else "passes", agreement, shadow.people, ms, present_ms or 0.0,
            verdict.memory_mb,
        )  # fmt: skip
        self._leave()
        self._tell(name, verdict)

    def _judge_present(self) -> None:
        """A release on probation: too slow for the camera, or proved."""
        name = self.release
        if name is None or self._is_proved(name):
            return
        why = self._too_slow(self._present_ms, None) if len(self._times_s) >= LEAST_PICTURES else ""
        if why:
            self._fail(name, "probation", why)
        elif self._read_s >= PROBATION_S:
            log.info("%s has proved itself", name)
            before = self._verdict(name) or Verdict(phase="probation")
            self._tell(name, before.model_copy(update={"starts": 0, "passed": True}))

    def _too_slow(self, ms: float | None, present_ms: float | None) -> str:
        """Why it cannot follow the camera; a present model that cannot either is the measure then."""
        rates = [rate for rate in (self._config.camera.fps, self._config.detector.looks_per_s) if rate]
        limit = max(1000 / min(rates), present_ms or 0.0)
        return (
            "" if ms is None or ms <= limit else f"slower than the camera: {ms:.0f} ms a picture, {limit:.0f} allowed"
        )

    @property
    def _present_ms(self) -> float | None:
        return round(1000 * statistics.median(self._times_s), 2) if self._times_s else None

    # -- what the updater hears ---------------------------------------------------------------------------------

    def _verdict(self, name: ReleaseName) -> Verdict | None:
        return self._news.verdicts.get(name)

    def _may_begin(self, name: ReleaseName, phase: Phase) -> bool:
        """Note that it begins; False where it failed before, or ended the agent too often."""
        before = self._verdict(name)
        if before is None or before.phase != phase:
            kept = {} if before is None else {"agreement": before.agreement, "people": before.people}
            before = Verdict(phase=phase, **kept)  # type: ignore[arg-type]
        if before.passed is not None:
            return before.passed
        if before.starts >= MOST_STARTS:
            self._fail(name, phase, f"the agent ended abnormally {MOST_STARTS} times in a row with it")
            return False
        self._tell(name, before.model_copy(update={"starts": before.starts + 1}))
        return True

    def _undo(self, name: ReleaseName) -> None:
        """It has not begun yet."""
        before = self._verdict(name)
        if before is not None and before.passed is None:
            self._tell(name, before.model_copy(update={"starts": before.starts - 1}))

    def _end(self, name: ReleaseName) -> None:
        """It came to a clean end."""
        before = self._verdict(name)
        if before is not None and before.passed is None and before.starts:
            self._tell(name, before.model_copy(update={"starts": 0}))

    def _fail(self, name: ReleaseName, phase: Phase, why: str) -> None:
        log.error("%s is given up: %s", name, why)
        before = self._verdict(name) or Verdict(phase=phase)
        self._tell(name, before.model_copy(update={"phase": phase, "starts": 0, "passed": False, "why": why[:500]}))
        if name == self._candidate:
            self._leave()

    def _tell(self, name: ReleaseName, verdict: Verdict) -> None:
        self._write(self._news.model_copy(update={"verdicts": {**self._news.verdicts, name: verdict}}))

    def _forget_others(self) -> None:
        """What is no longer of use may come again one day, and is judged again then."""
        of_use = {self.state.current, self.state.previous, self.state.candidate}
        kept = {name: verdict for name, verdict in self._news.verdicts.items() if name in of_use}
        if kept != self._news.verdicts:
            self._write(self._news.model_copy(update={"verdicts": kept}))

    def _write(self, news: News) -> bool:
        self._news = news
        return write_news(self._path, news)

    def _read(self) -> State:
        try:
            return self._folder.read()
        except UpdateError as error:
            log.error("%s", error)
            return State()


def _usable(folder: ModelsFolder, state: State, news: News) -> list[ReleaseName]:
    """Releases that may be in use, the wanted one first; what failed in use is not, before the updater hears of it."""

    def given_up(name: ReleaseName) -> bool:
        verdict = news.verdicts.get(name)
        return verdict is not None and verdict.phase == "probation" and verdict.passed is False

    wanted = [name for name in (state.current, state.previous) if name is not None]
    return [name for name in wanted if folder.has(name) and not given_up(name)]


def _with(config: Config, folder: ModelsFolder, name: ReleaseName) -> Config:
    """The configuration with a release's files."""
    files = folder.release(name)
    detector = config.detector
    if detector.kind == "built_in":
        detector = detector.model_copy(update={"path": files / DETECTOR})
    return config.model_copy(
        update={"model": config.model.model_copy(update={"path": files / CLASSIFIER}), "detector": detector}
    )


def _load(config: Config) -> tuple[Classifier, Detector]:
    return load_classifier(config.model, site_path(config)), load_detector(config.detector, config.model)
