"""The one place that wires: it builds the agent's parts, starts what runs next to its loop, and reloads."""

from __future__ import annotations

import hashlib
import logging
import secrets
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from edge_agent import __version__
from edge_agent.agent import Agent, ReloadAsked
from edge_agent.cameras.capture import LatestFrame
from edge_agent.config import Config, load_config
from edge_agent.detectors import Detector
from edge_agent.errors import CountenanceError
from edge_agent.health.counters import Health
from edge_agent.host.logs import setup
from edge_agent.host.redaction import redact
from edge_agent.live import Live
from edge_agent.mqtt.commands import Commands
from edge_agent.mqtt.payloads import DeviceInfo, ModelInUse, SiteInUse
from edge_agent.preflight import check_fit
from edge_agent.shares.window import Window
from edge_agent.store import open_store
from edge_agent.store.trend import Corrector
from edge_agent.updates.releases import Releases
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.pipeline import Pipeline
from edge_agent.vision.site_file import site_path
from edge_agent.vision.sitting import Calibrator

log = logging.getLogger(__name__)


def run_agent(path: Path | None) -> int:
    """``edge-agent run``: work until SIGTERM or SIGINT, or until a replay that does not loop is over.

    SIGHUP, like the MQTT command ``reload``, reads the configuration again. A wrong one is reported and ignored. If one
    does not work before its first window, the agent returns to the previous one.

    Returns:
        0.

    Raises:
        CountenanceError: as :class:`Assembly` and its ``run`` do.
    """
    stop, reload_asked = threading.Event(), ReloadAsked()
    # First, so that a stop while the model loads is clean, too, and no reload is lost.
    _listen_to_signals(stop, reload_asked)
    config: Config | None = load_config(path)
    previous: Config | None = None
    while config is not None and not stop.is_set():
        setup(config.log.level, form=config.log.format)
        assembly = None
        try:
            assembly = Assembly(config, lambda: load_config(path), reload_asked)
            config, previous = assembly.run(stop), config
        except CountenanceError as error:
            if previous is None or (assembly is not None and assembly.has_measured):
                raise
            log.error("the new configuration does not work, the old one stays in use: %s", error)
            config, previous = previous, None
    return 0


def _listen_to_signals(stop: threading.Event, reload_asked: ReloadAsked) -> None:
    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        log.info("stopping", extra={"signal": signal.Signals(number).name})
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    signal.signal(signal.SIGHUP, lambda _number, _frame: reload_asked.put(None))


class Assembly:
    """All parts of one configuration, joined; a wrong setting is an error before anything starts.

    Camera and broker may be absent: the running agent waits for them.

    Args:
        config: the configuration.
        read_config: reads it again and raises ConfigError if it is wrong now; None if it did not come from a file.
        reload_asked: filled by anyone who wants a reload. What comes too late for this assembly, the next one sees.

    Raises:
        CountenanceError: ConfigError, ModelError, DetectorError, StoreError or MissingPackageError, as the parts do.
    """

    def __init__(
        self,
        config: Config,
        read_config: Callable[[], Config] | None = None,
        reload_asked: ReloadAsked | None = None,
    ) -> None:
        self._config = config
        self._session = secrets.token_hex(8)
        self._live, self._health = Live(config.window.seconds), Health()
        self._releases = Releases(config)
        self._used, self._classifier, self._detector = self._releases.open()
        labels = self._classifier.labels
        check_fit(config, lambda: labels)
        self._store = open_store(config.store, self._session, self._classifier.id)
        self._wake_publisher: Callable[[], None] = lambda: None
        self._estimator = self._classifier.share_estimator()
        window = Window(config.window, config.privacy, self._estimator)
        trial_window = Window(
            config.window.model_copy(update={"rolling_s": 0.0}),
            config.privacy.model_copy(update={"min_people": 1}),
            self._estimator,
        )
        self._calibrator = Calibrator(self._classifier, site_path(config))
        self._agent = Agent(
            config=config,
            ready={
                "device": config.device.id,
                "session": self._session,
                "detector": self._detector.kind,
                "model": self._classifier.id,
                "runtime": self._classifier.runtime_name,
                "camera": config.camera.backend,
                "store": "memory" if self._store.in_memory else str(config.store.path),
            },
            live=self._live,
            health=self._health,
            store=self._store,
            window=window,
            trial_window=trial_window,
            pipeline=Pipeline(
                self._detector,
                self._classifier,
                window,
                observe=self._health.observe,
                limits=config.faces,
                sitting=self._calibrator.sitting,
            ),
            capture=LatestFrame(
                config.camera,
                self._live.camera_changed,
                self._health.observe,
                looks_per_s=config.detector.looks_per_s,
            ),
            releases=self._releases,
            tell_news=lambda: self._wake_publisher(),
            read_config=read_config,
            reload_asked=ReloadAsked() if reload_asked is None else reload_asked,
        )

    @property
    def has_measured(self) -> bool:
        """Whether a window was closed."""
        return self._live.state.report is not None

    def run(self, stop: threading.Event) -> Config | None:
        """Work until ``stop`` is set, a film is over, or a reload was asked for: then the new configuration comes back.

        Raises:
            CountenanceError: a film cannot be read, a package is missing, or an address cannot be listened on.
        """
        with ExitStack() as stack:
            stack.callback(self._store.close)
            stack.enter_context(self._releases)
            if self._config.mqtt.enabled:
                self._start_publisher(stack)
            if self._config.kiosk.enabled or self._config.metrics.enabled:
                self._start_pages(stack)
            return self._agent.run(stop)

    def _start_publisher(self, stack: ExitStack) -> None:
        from edge_agent.mqtt.publisher import Publisher

        commands = Commands(self._agent)
        publisher = Publisher(
            config=self._config,
            store=self._store,
            session=self._session,
            info=info(
                self._config,
                self._classifier,
                self._detector,
                capabilities=commands.names,
                release=self._releases.release,
            ),
            commands=commands,
            health=self._health,
            live=self._live,
        )
        publisher.start()
        stack.callback(publisher.stop)
        self._wake_publisher = publisher.wake

    def _start_pages(self, stack: ExitStack) -> None:
        from edge_agent.health.prometheus import make_registry
        from edge_agent.health.server import serve_metrics

        config = self._used
        registry = make_registry(config, self._live, self._health, store=self._store)
        if config.metrics.enabled:
            stack.callback(serve_metrics(config.metrics, registry))
        if config.kiosk.enabled:
            from edge_agent.kiosk import Kiosk

            corrector = Corrector(self._classifier.id, self._estimator)
            page = Kiosk(
                config, self._live, self._store, corrector=corrector, registry=registry, calibrator=self._calibrator
            )
            page.start()
            stack.callback(page.stop)


def info(
    config: Config,
    classifier: Classifier,
    detector: Detector,
    *,
    capabilities: tuple[str, ...],
    release: str | None,
) -> DeviceInfo:
    """What ``.../info`` tells of these parts; nothing secret."""
    model, site = classifier.model.info, classifier.site
    return DeviceInfo(
        version=__version__,
        name=config.device.shown_name,
        labels=classifier.labels,
        model=ModelInUse(
            name=model.name,
            sha256=model.sha256,
            labels_of=classifier.head_name,
            runtime=classifier.runtime_name,
            release=release,
            channel=config.updates.channel,
        ),
        detector=detector.kind,
        camera=config.camera.backend,
        rolling_s=config.window.rolling_s,
        min_people=config.privacy.min_people,
        site=None
        if site is None
        else SiteInUse(site.id, len(site.reference.labels), site.error_before, site.error_after),
        config_sha256=hashlib.sha256(redact(config.model_dump_json()).encode()).hexdigest(),
        capabilities=capabilities,
    )
