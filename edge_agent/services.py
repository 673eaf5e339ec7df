"""What runs beside the pipeline in threads of its own, each only where the configuration asks for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from edge_agent import __version__
from edge_agent.commands import Commands
from edge_agent.live import CameraState
from edge_agent.redaction import redact

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from edge_agent.agent import Agent


def start_services(agent: Agent, stack: ExitStack) -> Callable[[], None]:
    """Start publisher, page and metrics; ``stack`` stops them in the reverse order.

    Returns:
        What to call when the store or the agent's state has something new.

    Raises:
        ConfigError: the page's language, emotions, logo or token are wrong.
        ListenError: an address cannot be listened on.
        MissingPackageError: the page's extra is not installed.
    """
    config = agent.config
    wake: Callable[[], None] = lambda: None  # noqa: E731 (the value while there is no broker)
    if config.mqtt.enabled:
        from edge_agent.publisher import Publisher

        publisher = Publisher(
            config, agent.store, agent.session, info(agent), agent, agent.health, agent.classifier.labels
        )
        publisher.start()
        stack.callback(publisher.stop)
        wake = publisher.wake
    if config.kiosk.enabled or config.metrics.enabled:
        from edge_agent.metrics import make_registry, serve_metrics

        registry = make_registry(config, agent.live, agent.health, agent.store)
        if config.metrics.enabled:
            stack.callback(serve_metrics(config.metrics, registry))
        if config.kiosk.enabled:
            _start_page(agent, stack, registry)
    return wake


def _start_page(agent: Agent, stack: ExitStack, registry: CollectorRegistry) -> None:
    from edge_agent.kiosk import Kiosk

    page = Kiosk(agent.config, agent.live, agent.store, agent.classifier.labels, registry, lambda: _measures(agent))
    page.start()
    stack.callback(page.stop)


def _measures(agent: Agent) -> bool:
    """Whether pictures come in and are looked at."""
    state = agent.live.state
    return state.camera is CameraState.RUNNING and not state.paused


def info(agent: Agent) -> dict[str, Any]:
    """What does not change while the agent runs, as ``.../info`` tells it; nothing secret."""
    config, classifier = agent.config, agent.classifier
    return {
        "version": __version__,
        "name": config.device.name,
        "labels": list(classifier.labels),
        "model": {
            "name": classifier.model.info.name,
            "sha256": classifier.model.info.sha256,
            "labels_of": classifier.head_name,
            "runtime": classifier.runtime_name,
        },
        "detector": agent.detector.kind,
        "camera": config.camera.backend,
        "window_s": config.window.seconds,
        "rolling_s": config.window.rolling_s,
        "min_people": config.privacy.min_people,
        "config_sha256": hashlib.sha256(redact(config.model_dump_json()).encode()).hexdigest(),
        "capabilities": list(Commands(agent).names),
    }
