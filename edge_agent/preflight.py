"""Whether a configuration with good values also fits its files, its model and itself."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.config import Config
from edge_agent.config.credentials import mqtt_password
from edge_agent.errors import ConfigError

_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 (compared, not bound)


def check_fit(config: Config, labels: Callable[[], tuple[str, ...]]) -> None:
    """Checks before the start of ``run``, and in ``config check``.

    Args:
        config: the configuration.
        labels: gives the model's emotion names; called only if the page shows a selection of them.

    Raises:
        ConfigError: what does not fit, one line per fault.
        ModelError: as ``labels`` does.
    """
    checks: list[Callable[[], object]] = [lambda: _check_ports(config)]
    if config.mqtt.enabled:
        checks.append(lambda: mqtt_password(config.mqtt.password_file))
    if config.kiosk.enabled:
        checks += _checks_of_the_page(config, labels)
    faults = []
    for check in checks:
        try:
            check()
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))


def _checks_of_the_page(config: Config, labels: Callable[[], tuple[str, ...]]) -> list[Callable[[], object]]:
    from edge_agent.kiosk.language import load_language
    from edge_agent.kiosk.settings import check_logo, shown_labels
    from edge_agent.kiosk.theme import read_theme

    checks: list[Callable[[], object]] = [
        lambda: load_language(config.kiosk.language),
        lambda: check_logo(config.kiosk.logo),
        lambda: check_logo(read_theme(config.kiosk.theme).logo, "kiosk.theme: logo"),
    ]
    if config.kiosk.emotions:
        checks.append(lambda: shown_labels(config, labels()))
    return checks


def _check_ports(config: Config) -> None:
    kiosk, metrics = config.kiosk, config.metrics
    meet = kiosk.host == metrics.host or kiosk.host in _EVERY_ADDRESS or metrics.host in _EVERY_ADDRESS
    if kiosk.enabled and metrics.enabled and kiosk.port == metrics.port and meet:
        raise ConfigError(f"metrics.port: {metrics.port} is kiosk.port, too; take another, or the page's own /metrics")
