"""The message of a test that waited without success."""

from __future__ import annotations

import pytest

from tests.support.broker import wait_until


def test_a_wait_in_vain_tells_the_state_after_it() -> None:
    seen: list[int] = []
    with pytest.raises(pytest.fail.Exception, match=r"not within 0\.1 s: more; there are [1-9]"):
        wait_until(lambda: seen.append(1), 0.1, lambda: f"more; there are {len(seen)}")
