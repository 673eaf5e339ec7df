"""How well people are counted, and how often one is taken for another, on films with known truth.

The real detector finds the faces in every frame; only the joining is judged. As in the agent's windows, a person counts
who was visible long enough and is alive. The settings are chosen on films with other seeds and other people.

    python -m benchmarks.tracking --photos ../shared/data/wild_faces_dev.zip --write     # the table of docs/shares.md
    python -m benchmarks.tracking --photos ../shared/data/wild_faces_dev.zip --tune
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.film import FPS, SECONDS, SEEN_FROM, Cutout, Scene, Truth, frames, make_film, read_cutouts
from benchmarks.written import write_between
from edge_agent.config import DetectorConfig, FacesConfig
from edge_agent.detectors import Detector, load_detector
from edge_agent.shares.window import FrameRate, least_sightings
from edge_agent.types import Box, Face, TrackedFace
from edge_agent.vision import stillness
from edge_agent.vision.assignment import best_pairs
from edge_agent.vision.stillness import Life, Stillness
from edge_agent.vision.tracking import Settings, Tracker, overlap
from training.machine import describe_machine

FILMS = {Scene.WALK: 16, Scene.CROWD: 24, Scene.RETURN: 12, Scene.IN_TURN: 12, Scene.POSTERS: 12}
SLOW = (Scene.RETURN, Scene.IN_TURN, Scene.POSTERS)
"""Films of one or two people, taken at 5 frames a second: the fewer frames, the easier one person is two."""
WINDOW_S = 10.0
MATCH = 0.4
"""Least intersection over union of a found face and the true one."""
STEPS = (1, 3, 8)
"""Every frame, every third, every eighth: 15, 5 and about 2 frames a second."""
BOXES_ONLY = Settings(coasting_s=1e-3, buffer=0.0, buffer_per_s=0.0, min_overlap=0.3, max_gap_s=0.5)
"""The usual tracker of the peers: boxes of neighbouring frames must overlap."""
STILLNESS = Path(stillness.__file__)
FIGURES = Path("docs/figures/tracking.json")
PAGE = Path("docs/shares.md")


@dataclass(frozen=True)
class Shot:
    """One frame: when, the faces found, and who they are (-1: nobody)."""

    at_s: float
    faces: list[Face]
    lives: list[Life]
    """Whether each is known to be alive, or a photograph."""
    people: list[int]
    visible: frozenset[int]
    """Who could be found."""


@dataclass
class Score:
    """Sums over films."""

    people: int = 0
    counted: int = 0
    error: int = 0
    switches: int = 0
    windows: int = 0
    window_error: int = 0
    few: int = 0
    """Windows in which one or two people were found."""
    few_by_lineage: int = 0
    """How many of these had three or more lineages: the rule before, which counted photographs, too."""
    few_published: int = 0
    """How many of these had three or more people in one frame, and are published."""
    enough: int = 0
    """Windows in which three or more people were found."""
    enough_by_lineage: int = 0
    """How many of these had fewer than three lineages."""
    enough_withheld: int = 0
    """How many of these had fewer than three people in each frame, and are withheld."""
    at_once: int = 0
    """Windows in which three or more people were found in one frame. Others may by motion be one who returns."""
    at_once_withheld: int = 0
    """How many of these are withheld."""


def main() -> None:
    """Film, track, compare."""
    options = _options()
    cv2.setNumThreads(1)
    detector = load_detector(DetectorConfig(kind="yunet", path=options.yunet, size=options.size))
    cutouts = read_cutouts(options.photos, detector, limit=1000)
    half = len(cutouts) // 2
    people, first_seed = (cutouts[:half], 0) if options.tune else (cutouts[half:], 1000)
    wanted = [(scene, first_seed + number) for scene, count in FILMS.items() for number in range(count)]
    films: dict[Scene, list[list[Shot]]] = {scene: [] for scene in FILMS}
    for scene, seed in tqdm(wanted, leave=False, disable=None):
        if scene is Scene.WALK or not options.tune:
            films[scene].append(_cached(scene, seed, people, detector=detector, size=options.size))
    if options.tune:
        tune(films[Scene.WALK])
        return
    rows = [
        {
            "tracker": name,
            "fps": round(FPS / step, 1),
            "walk": vars(score(films[Scene.WALK], settings, step)),
            "crowd": vars(score(films[Scene.CROWD], settings, step)),
            "few": {scene.value: vars(score(films[scene], settings, 1)) for scene in SLOW if step == STEPS[1]},
        }
        for step in STEPS
        for name, settings in (("boxes of neighbouring frames", BOXES_ONLY), ("ours", Settings()))
    ]
    result = {
        "measured": {
            "command": "python -m benchmarks.tracking",
            "machine": describe_machine(),
            "films": {scene.value: count for scene, count in FILMS.items()},
            "seconds": SECONDS,
            "size": options.size,
        },
        "rows": rows,
    }
    text = table(result)
    print(text)
    if options.write:
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        FIGURES.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        write_between(PAGE, "tracking", text)


def _cached(scene: Scene, seed: int, people: list[Cutout], *, detector: Detector, size: int) -> list[Shot]:
    """Drawing a film and finding its faces takes ten seconds, so the result is kept in an ignored folder."""
    text = Path(__file__).with_name("film.py").read_bytes() + STILLNESS.read_bytes()
    name = f"{hashlib.sha256(text).hexdigest()[:12]}-{scene.name.lower()}-{seed}-{size}.json"
    path = Path(".cache/films") / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        shots = shoot(people, seed, detector, scene=scene, fps=FPS / STEPS[1] if scene in SLOW else FPS)
        path.write_text(json.dumps([_plain(shot) for shot in shots]), encoding="utf-8")
    return [
        Shot(
            at_s,
            [Face(Box(*box), score) for *box, score in faces],
            [Life(life) for life in lives],
            who,
            frozenset(visible),
        )
        for at_s, faces, lives, who, visible in json.loads(path.read_text(encoding="utf-8"))
    ]


def _plain(shot: Shot) -> list[Any]:
    rows = [[face.box.x, face.box.y, face.box.width, face.box.height, face.score] for face in shot.faces]
    return [shot.at_s, rows, [life.value for life in shot.lives], shot.people, sorted(shot.visible)]


def shoot(
    people: list[Cutout],
    seed: int,
    detector: Detector,
    *,
    seconds: float = SECONDS,
    scene: Scene = Scene.WALK,
    fps: float = FPS,
) -> list[Shot]:
    """Run the detector over one film, name its faces, and judge which are alive."""
    shots, tracker, judge = [], Tracker(), Stillness(FacesConfig().still_s)
    for at_s, image, truth in frames(make_film(people, seed, seconds, scene=scene), fps):
        faces = detector.detect(image)
        lives = judge.judge(image, tracker.update(faces, at_s), at_s)
        visible = frozenset(t.person for t in truth if t.visible >= SEEN_FROM and t.alive)
        shots.append(Shot(at_s, faces, lives, _who(faces, truth), visible))
    return shots


def _who(faces: Sequence[Face], truth: Sequence[Truth]) -> list[int]:
    """The living person behind each found face, -1 for none."""
    people = [-1] * len(faces)
    there = [t for t in truth if t.visible > 0.2 and t.alive]
    scores = overlap(_rows([face.box for face in faces]), _rows([t.face for t in there]))
    for face, place in best_pairs(np.where(scores >= MATCH, scores, 0.0)):
        people[face] = there[place].person
    return people


def _rows(boxes: Sequence[Box]) -> Any:
    return np.array([(*box.centre, box.width, box.height) for box in boxes], dtype=np.float64).reshape(-1, 4)


def score(films: Sequence[Sequence[Shot]], settings: Settings, step: int) -> Score:
    """Track every ``step``-th frame of all films."""
    total = Score()
    for shots in films:
        _score_film(shots[::step], settings, total)
    return total


def _score_film(shots: Sequence[Shot], settings: Settings, total: Score) -> None:
    tracker = Tracker(settings)
    sightings: Counter[int] = Counter()
    seen: Counter[int] = Counter()
    last: dict[int, int] = {}
    windows: dict[int, _Window] = defaultdict(_Window)
    rate = FrameRate()
    for shot in shots:
        rate.count(shot.at_s)
        tracked = tracker.update(shot.faces, shot.at_s)
        tracks = [item.track for item in tracked]
        for person, track in zip(shot.people, tracks, strict=True):
            if person >= 0:
                total.switches += last.get(person, track) != track
                last[person] = track
        sightings.update(tracks)
        seen.update(shot.visible)
        windows[int(shot.at_s // WINDOW_S)].add(shot, tracked)
    least = least_sightings(rate.fps)
    total.people += _often(seen, least)
    total.counted += _often(sightings, least)
    total.error += abs(_often(sightings, least) - _often(seen, least))
    for window in windows.values():
        window.judge(total)


@dataclass
class _Window:
    """What one window of the agent would know, and the truth."""

    rate: FrameRate = field(default_factory=FrameRate)
    tracks: Counter[int] = field(default_factory=Counter)
    visible: Counter[int] = field(default_factory=Counter)
    found: set[int] = field(default_factory=set)
    """The people whose faces were found: a published figure would be about them."""
    found_at_once: int = 0
    """The most of them in one frame."""
    lineage: dict[int, int] = field(default_factory=dict)
    together: set[frozenset[int]] = field(default_factory=set)
    """Tracks that are alive in one frame."""
    living: Counter[int] = field(default_factory=Counter)
    """Sightings of each track that are no photograph's."""
    alive: Counter[int] = field(default_factory=Counter)
    """Sightings of each track that are known to be alive."""

    def add(self, shot: Shot, tracked: Sequence[TrackedFace]) -> None:
        self.rate.count(shot.at_s)
        self.tracks.update(item.track for item in tracked)
        self.lineage.update({item.track: item.lineage for item in tracked})
        self.visible.update(shot.visible)
        found = {person for person in shot.people if person >= 0}
        self.found |= found
        self.found_at_once = max(self.found_at_once, len(found))
        living = [item.track for item, life in zip(tracked, shot.lives, strict=True) if life is not Life.STILL]
        self.living.update(living)
        alive = {item.track for item, life in zip(tracked, shot.lives, strict=True) if life is Life.ALIVE}
        self.together.add(frozenset(alive))
        self.alive.update(alive)

    def judge(self, total: Score) -> None:
        least = least_sightings(self.rate.fps)
        lineages = len({self.lineage[track] for track, number in self.tracks.items() if number >= least})
        counted = {k for k, n in self.living.items() if n >= least and 2 * self.alive[k] >= self.tracks[k]}
        certain = max(len(group & counted) for group in self.together)
        total.windows += 1
        total.window_error += abs(len(counted) - _often(self.visible, least))
        if 0 < len(self.found) < 3:
            total.few += 1
            total.few_by_lineage += lineages >= 3
            total.few_published += certain >= 3
        elif len(self.found) >= 3:
            total.enough += 1
            total.enough_by_lineage += lineages < 3
            total.enough_withheld += certain < 3
            total.at_once += self.found_at_once >= 3
            total.at_once_withheld += self.found_at_once >= 3 > certain


def _often(counts: Counter[int], least: int) -> int:
    return sum(number >= least for number in counts.values())


def table(result: dict[str, Any]) -> str:
    """The rows as Markdown: how well people are counted, then how often small groups are published."""
    facts, rows = result["measured"], result["rows"]
    walks = facts["films"][Scene.WALK.value]
    lines = [
        "| frames/s | tracker | people in all films | counted | error of the count, a film | id switches a person | "
        "error of the count, a 10 s window |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        walk = row["walk"]
        lines.append(
            f"| {row['fps']:g} | {row['tracker']} | {walk['people']} | {walk['counted']} | "
            f"{walk['error'] / walks:.2f} | {walk['switches'] / walk['people']:.3f} | "
            f"{walk['window_error'] / walk['windows']:.2f} |"
        )
    lines += [
        "",
        "| films, frames/s | windows of 1 or 2 people: published | by the rule before | "
        "windows of 3 or more: withheld | by the rule before | of 3 or more at once: withheld |",
        "|---|---|---|---|---|---|",
    ]
    ours = [row for row in rows if row["tracker"] == "ours"]
    for row in ours:
        films = {"walk and crowd": [row["walk"], row["crowd"]]} | {name: [one] for name, one in row["few"].items()}
        for name, scores in films.items():
            few, before, published, enough, early, withheld, at_once, at_once_withheld = (
                sum(one[key] for one in scores)
                for key in (
                    "few", "few_by_lineage", "few_published", "enough", "enough_by_lineage", "enough_withheld",
                    "at_once", "at_once_withheld",
                )
            )  # fmt: skip
            lines.append(
                f"| {name}, {row['fps']:g} | {published} of {few} | {before} | {withheld} of {enough} | {early} | "
                f"{at_once_withheld} of {at_once} |"
            )
    count = ", ".join(f"{number} {name}" for name, number in facts["films"].items())
    return "\n".join(
        [
            *lines,
            "",
            f"Films of {facts['seconds']:.0f} s: {count}. {facts['machine']}, YuNet at {facts['size']}. The rule "
            "before counted tracks that could not be one person within 4 s, and photographs.",
        ]
    )


def tune(films: Sequence[Sequence[Shot]]) -> None:
    """Change one setting at a time, and print the figures at each frame rate."""
    print("error of the count a film, id switches a person, error a window; for each frame rate")
    _print_settings("boxes only", films, BOXES_ONLY)
    _print_settings("shipped", films, Settings())
    grid: dict[str, tuple[float, ...]] = {
        "max_gap_s": (0.5, 1.0, 1.5, 3.0, 4.0),
        "velocity_memory_s": (0.15, 0.6, 1.0),
        "coasting_s": (0.3, 1.5, 3.0),
        "buffer": (0.0, 0.3, 0.5),
        "buffer_per_s": (0.0, 0.25, 1.0),
        "buffer_max": (0.5, 1.2),
        "min_overlap": (0.02, 0.05, 0.2),
    }
    for name, values in grid.items():
        for value in values:
            _print_settings(f"{name}={value}", films, replace(Settings(), **{name: value}))


def _print_settings(name: str, films: Sequence[Sequence[Shot]], settings: Settings) -> None:
    cells = []
    for step in STEPS:
        s = score(films, settings, step)
        cells.append(
            f"{s.error / len(films):5.2f} ({s.counted - s.people:+4d}) {s.switches / s.people:.3f} "
            f"{s.window_error / s.windows:.2f} {s.few_published}/{s.few} "
            f"{s.enough_withheld}/{s.enough}"
        )
    print(f"{name:24}", "   ".join(cells), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path("../shared/data")
    parser.add_argument("--photos", type=Path, default=shared / "wild_faces_dev.zip")
    parser.add_argument("--yunet", type=Path, default=shared / "face_detection_yunet_2023mar.onnx")
    parser.add_argument("--size", type=int, default=320, help="longer side that the detector sees")
    parser.add_argument("--write", action="store_true", help=f"write {FIGURES} and the table in {PAGE}")
    parser.add_argument("--tune", action="store_true", help="vary the settings, on other films and other people")
    return parser.parse_args()


if __name__ == "__main__":
    main()
