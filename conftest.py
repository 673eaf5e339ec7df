"""What holds for all tests, those of the benchmarks included."""

from __future__ import annotations

import pytest

from tests.support.outside import NoPrograms, mark


def pytest_configure(config: pytest.Config) -> None:
    """``make check`` is told from ``make test`` by the marker that it leaves out."""
    if "not outside" in config.option.markexpr:
        config.pluginmanager.register(NoPrograms())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before markers choose."""
    mark(items)
