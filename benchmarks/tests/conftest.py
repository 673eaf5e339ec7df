"""Fixtures of the tests of benchmarks."""

from __future__ import annotations

import pytest

from tests.support.fer import read_fer2013
from training.data import Faces


@pytest.fixture(scope="session")
def fer2013() -> Faces:
    """The real data; skips by name where it is not there."""
    return read_fer2013()
