"""Programs that tests run against: a missing one skips the test by name, and fails it under CI."""

from __future__ import annotations

import os
import shutil

import pytest

SEARCH_PATH = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin:/usr/local/sbin"
"""Debian keeps servers in /usr/sbin, which is not on every user's PATH."""


def require(program: str, package: str) -> str:
    """The path of ``program``, which Debian's ``package`` holds; without it the calling test is skipped."""
    path = shutil.which(program, path=SEARCH_PATH)
    if path is None:
        message = f"{program} is not installed: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path
