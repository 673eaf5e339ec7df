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


def enter(people: RollingPeople, lineages: list[int], now_s: float) -> None:
    """Let these people, who are all seen at the same time, enter."""
    rows = np.full((len(lineages), 7), 1 / 7)
    people.enter(lineages, rows, groups=[frozenset(lineages)], now_monotonic_s=now_s)


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
        enter(people, [names.index(name) for name in seen], 10.0 * int(number))
        entered = {names[lineage] for cohort in people.cohorts[before:] for lineage in cohort.people}
        assert entered == ENTERING[int(number)]


def test_the_first_cohort_leaves_as_a_whole_when_another_one_enters_after_its_time() -> None:
    people = RollingPeople(900.0, min_people=3)
    for start, entering in ((0, 0.0), (3, 800.0), (6, 901.0)):
        enter(people, [start, start + 1, start + 2], entering)
    assert [set(cohort.people) for cohort in people.cohorts] == [{3, 4, 5}, {6, 7, 8}]


def test_nobody_enters_on_the_strength_of_one_who_returned() -> None:
    """Three known people stay; a fourth leaves and returns twice: three numbers that are never seen together."""
    people = RollingPeople(900.0, min_people=3)
    enter(people, [1, 2, 3], 10.0)
    rows = np.full((6, 7), 1 / 7)
    together = [frozenset({1, 2, 3, new}) for new in (4, 5, 6)]
    assert not people.enter([1, 2, 3, 4, 5, 6], rows, groups=together, now_monotonic_s=20.0)
    assert [set(cohort.people) for cohort in people.cohorts] == [{1, 2, 3}]


def test_the_rest_of_a_window_is_no_one_who_returned_either() -> None:
    """Known is one person with three numbers; new are three others. Window minus cohort would be that one person."""
    people = RollingPeople(900.0, min_people=3)
    enter(people, [1, 2, 3], 10.0)
    rows = np.full((6, 7), 1 / 7)
    together = [frozenset({1, 7, 8, 9}), frozenset({2, 7, 8, 9}), frozenset({3, 7, 8, 9})]
    people.enter([1, 2, 3, 7, 8, 9], rows, groups=together, now_monotonic_s=20.0)
    for cohort in people.cohorts[1:]:
        rest = {1, 2, 3, 7, 8, 9} - set(cohort.people)
        assert max(len(group & rest) for group in together) >= 3
