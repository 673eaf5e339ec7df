"""The printed figures about shares are those of the shipped estimator."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks.prevalence import FIGURES, stated
from benchmarks.shares import ROWS, Answers, ask, measure
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import load_model
from tests.support.windows import LABELS
from training.data import Faces


@pytest.fixture(scope="module")
def stated_half(fer2013: Faces) -> tuple[Answers, Classifier, dict]:
    """The shipped model's answers to the half that figures are stated of, and what was measured of them."""
    printed = json.loads(FIGURES["ferplus"].read_text())
    if find_spec("ai_edge_litert") is None:
        pytest.skip("needs ai-edge-litert, which the figures were measured with")
    classifier = Classifier(load_model(), printed["measured"]["runtime"], head="ferplus")
    return ask(classifier, stated(fer2013)), classifier, printed


@pytest.mark.shared
@pytest.mark.parametrize("number", range(len(ROWS)), ids=[f"{row.people}-{row.shift}" for row in ROWS])
def test_printed_figures_are_what_the_shipped_estimator_gives(stated_half, number):
    """Each row of docs/shares.md that has a goal, measured again: who changes a setting must measure again."""
    answers, classifier, printed = stated_half
    prior, estimator = np.array(classifier.head.prior), classifier.head.share_estimator(LABELS)
    row = measure(ROWS[number], answers, prior, estimator=estimator, windows=printed["measured"]["windows"])
    stored = printed["rows"][number]["error_points"]
    told = {name: stored[name] for name in row["error_points"]}  # EM is not asked again
    assert row["error_points"] == pytest.approx(told, abs=0.02)
    assert row["coverage"] == pytest.approx(printed["rows"][number]["coverage"], abs=0.002)
