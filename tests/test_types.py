"""Pictures end at the classifier: no type behind it can carry pixels or a person, however deeply it is looked into."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator

import numpy as np
import pytest

from edge_agent.health.counters import HealthSnapshot
from edge_agent.live import LiveState
from edge_agent.types import EmotionScores, Face, Frame, StoredWindow, TrackedFace, WindowReport

BEHIND_THE_CLASSIFIER = (EmotionScores, WindowReport, LiveState, StoredWindow, HealthSnapshot)
MAY_HOLD_BYTES = (bytes, bytearray, memoryview, object)
OF_ONE_PERSON = {Frame, Face, TrackedFace}


def reachable(annotation: object, path: str) -> Iterator[tuple[str, object]]:
    """Every plain type inside ``annotation``, through generics, unions and dataclasses, with the way to it."""
    alias = getattr(typing.get_origin(annotation), "__value__", None)
    if alias is not None:  # what numpy 2.5 makes of NDArray
        annotation = alias[typing.get_args(annotation)]
    if typing.get_origin(annotation) is np.ndarray:
        yield path, annotation
        return
    inner = typing.get_args(annotation)
    if inner:
        for argument in inner:
            if argument is not Ellipsis:
                yield from reachable(argument, path)
        return
    yield path, annotation
    if dataclasses.is_dataclass(annotation):
        for name, hint in typing.get_type_hints(annotation).items():
            yield from reachable(hint, f"{path}.{name}")


def forbidden(root: type) -> list[str]:
    """What must not be there: arrays of bytes, raw bytes, anything untyped, and everything about one person."""
    found = []
    for path, kind in reachable(root, root.__name__):
        is_array = typing.get_origin(kind) is np.ndarray
        scalar = typing.get_args(typing.get_args(kind)[1])[0] if is_array else None
        if (is_array and not issubclass(scalar, np.floating)) or kind in MAY_HOLD_BYTES or kind in OF_ONE_PERSON:
            found.append(f"{path}: {kind}")
        if kind is typing.Any or kind is np.ndarray:
            found.append(f"{path}: untyped")
    return found


@pytest.mark.parametrize("root", BEHIND_THE_CLASSIFIER, ids=lambda root: root.__name__)
def test_nothing_behind_the_classifier_can_hold_a_picture(root):
    """Only scores are arrays there, and they are fractions."""
    assert forbidden(root) == []


@pytest.mark.parametrize(
    "root", [WindowReport, LiveState, StoredWindow, HealthSnapshot], ids=lambda root: root.__name__
)
def test_nothing_behind_the_window_holds_an_array_at_all(root):
    """From the window on there are no rows of people either."""
    assert [path for path, kind in reachable(root, root.__name__) if typing.get_origin(kind) is np.ndarray] == []


def test_the_search_finds_pixels_where_there_are_some():
    """The proof would be worth nothing if it could not fail."""

    @dataclasses.dataclass
    class Leaky:
        report: WindowReport
        thumbnails: dict[str, tuple[bytes, ...]]

    Leaky.__annotations__["report"] = WindowReport
    Leaky.__annotations__["thumbnails"] = dict[str, tuple[bytes, ...]]
    assert forbidden(Leaky) == ["Leaky.thumbnails: <class 'bytes'>"]
    assert any("Frame.image" in line for line in forbidden(Frame))
    assert any("TrackedFace.face" in line for line in forbidden(TrackedFace))


def test_values_are_frozen():
    """What was published cannot be changed afterwards."""
    for kind in (*BEHIND_THE_CLASSIFIER, Frame, Face, TrackedFace):
        assert kind.__dataclass_params__.frozen
