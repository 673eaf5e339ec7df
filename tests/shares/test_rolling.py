"""The worked example of the rolling estimate in docs/privacy-proof.md is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from edge_agent.shares.rolling import RollingPeople

PAGE = Path(__file__).parents[2] / "docs" / "privacy-proof.md"
ROW = r"^\| (\d) \| ([\w, ]+) \| ([\w, ]+) \| (\w+(?:, \w+)*) \| (.+) \|$"
ENTERING = {1: {"Ann", "Ben", "Cem"}, 2: set(), 3: set(), 4: {"Dana", "Eli", "Fay"}}
"""What the last column says in words."""


def test_the_example_of_the_documentation_is_what_happens() -> None:
    rows = re.findall(ROW, PAGE.read_text(encoding="utf-8"), re.M)
    assert [int(number) for number, *_ in rows] == list(ENTERING)
    names: list[str] = []
    people = RollingPeople(900.0, min_people=3)
    for number, in_view, new, rest, _ in rows:
        seen = in_view.split(", ")
        names += [name for name in seen if name not in names]
        counted = {names[lineage] for cohort in people.cohorts for lineage in cohort.people}
        assert set(seen) - counted == set(new.split(", "))
        assert set(seen) & counted == set(rest.split(", ")) - {"nobody"}
        before = len(people.cohorts)
        people.enter([names.index(name) for name in seen], np.full((len(seen), 7), 1 / 7), 10.0 * int(number))
        entered = {names[lineage] for cohort in people.cohorts[before:] for lineage in cohort.people}
        assert entered == ENTERING[int(number)]


def test_the_first_cohort_leaves_as_a_whole_when_another_one_enters_after_its_time() -> None:
    people = RollingPeople(900.0, min_people=3)
    for start, entering in ((0, 0.0), (3, 800.0), (6, 901.0)):
        people.enter([start, start + 1, start + 2], np.full((3, 7), 1 / 7), entering)
    assert [set(cohort.people) for cohort in people.cohorts] == [{3, 4, 5}, {6, 7, 8}]
