"""The documentation is true and readable: every setting, code and command is in it, and every link leads somewhere."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent import errors
from edge_agent.cli.main import EXIT_CODES, _parser
from edge_agent.errors import CountenanceError
from scripts import configuration_page, plain_words

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
AT_THE_ROOT = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG", "MODEL_CARD")]
BESIDES = {0: "success", 1: "doctor", 2: "command line", 70: "a defect", 130: "Ctrl-C"}
"""Codes that no error of ours has."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_in_plain_words(page: Path) -> None:
    """`python -m scripts.plain_words FILE` shows the longest sentences."""
    assert not plain_words.read(page).faults


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("It is " + "very " * 23 + "long.", "26"),
        ("| a |\n|---|\n| " + "x" * 161 + " |", "161"),
        ("It was written\nanew.", "'anew'; say: again"),
    ],
)
def test_what_makes_a_reader_work_is_found(tmp_path: Path, text: str, fault: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    assert fault in " ".join(plain_words.read(page).faults)


def classes() -> list[type[CountenanceError]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, CountenanceError)]


def test_the_tree_of_errors_is_that_of_the_classes() -> None:
    drawn = {
        (name, int(code), len(branch) // 4)
        for branch, name, code in re.findall(r"^    ([│├└─ ]*)(\w+Error) +(\d+) ", errors.__doc__ or "", re.M)
    }
    depth = {kind: kind.__mro__.index(CountenanceError) for kind in classes()}
    assert drawn == {(kind.__name__, kind.exit_code, depth[kind]) for kind in classes()}


def test_every_exit_code_is_documented_and_no_other() -> None:
    known = {kind.exit_code for kind in classes()} | set(BESIDES)
    page = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.M)} == known
    assert {int(code) for code in re.findall(r" (\d+)  ", EXIT_CODES)} == known


def test_the_page_of_settings_is_what_the_schema_says() -> None:
    assert configuration_page.PAGE.read_text(encoding="utf-8") == configuration_page.page(), (
        "python -m scripts.configuration_page"
    )


def test_every_setting_has_words() -> None:
    """Of every leaf of the schema, by the reference file."""
    wordless = [
        name for name, words in re.findall(r"^- \*\*`(.+?)`.*\n  (.*)$", configuration_page.page(), re.M) if not words
    ]
    assert not wordless


def test_every_command_is_in_the_readme() -> None:
    (commands,) = [action.choices for action in _parser()._actions if action.choices and "run" in action.choices]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [name for name in commands if f"edge-agent {name}" not in readme]


def test_the_tables_of_stored_figures_are_what_was_measured() -> None:
    """In a separate process: no test may import a benchmark."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.rewrite", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), (
        f"python -m benchmarks.rewrite\n{done.stdout}{done.stderr}"
    )


def links(page: Path) -> Iterator[tuple[Path, str]]:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://")):
            path, _, anchor = target.partition("#")
            yield (page.parent / path if path else page), anchor


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*AT_THE_ROOT, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    """As GitHub shows the pages; `make docs` judges the site."""
    dead = [
        f"{path.relative_to(ROOT)}#{anchor}"
        for path, anchor in links(page)
        if not path.resolve().exists() or (anchor and anchor not in anchors(path))
    ]
    assert not dead


def test_the_site_builds_without_a_dead_link(tmp_path: Path) -> None:
    mkdocs = Path(sys.executable).with_name("mkdocs")
    if not mkdocs.exists():
        message = "mkdocs is not installed: pip install '.[docs]'"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    built = subprocess.run(
        [str(mkdocs), "build", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, timeout=120, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert (built.returncode, built.stdout) == (0, ""), built.stderr
    index = (tmp_path / "site" / "search" / "search_index.json").read_text(encoding="utf-8")
    assert "suppressed" in index, "the contract can be searched"


def test_a_dead_link_fails_the_site(tmp_path: Path) -> None:
    mkdocs = Path(sys.executable).with_name("mkdocs")
    if not mkdocs.exists():
        pytest.skip("mkdocs is not installed: pip install '.[docs]'")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write("\n[nowhere](mqtt.md#no-such-heading)\n")
    built = subprocess.run([str(mkdocs), "build"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert built.returncode != 0
    assert "no-such-heading" in built.stderr + built.stdout
