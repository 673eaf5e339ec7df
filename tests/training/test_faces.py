"""The detector's training: pictures and their faces stay together, and what a run was begun with is what goes on."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.detectors.grids import Found
from edge_agent.errors import InputError
from edge_agent.host.runtime import open_interpreter
from tests.support.faces import FACE_CENTRE, SHARED, astronaut_bgr, shared
from training.faces.compose import compose
from training.faces.data import Faces, Scene, read_scenes
from training.faces.decode import decode
from training.faces.judge import fitted, judge
from training.faces.photometry import develop
from training.faces.recipe import RECIPES, Network, load_recipe
from training.faces.targets import STRIDES, targets

RECIPE = load_recipe(RECIPES / "base.yaml")
POINTS = ((200, 105), (245, 103), (226, 128), (205, 150), (243, 149))


def faces(*boxes: tuple[float, float, float, float], ignored: tuple[int, ...] = ()) -> Faces:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    grid = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)], np.float32)
    points = array[:, None, :2] + grid * array[:, None, 2:]
    return Faces(array, points, np.isin(np.arange(len(array)), ignored))


def astronaut() -> Scene:
    """One real face with its landmarks."""
    image = cv2.cvtColor(astronaut_bgr(), cv2.COLOR_BGR2GRAY)
    x, y = FACE_CENTRE
    box = np.array([[x - 45, y - 60, 90, 120]], np.float32)
    return Scene("astronaut.jpg", "test", image, Faces(box, np.array([POINTS], np.float32), np.zeros(1, bool)))


def maps_of(wanted: np.ndarray, side: int) -> dict[str, np.ndarray]:
    """The maps of a network that says exactly what it should."""
    maps, first = {}, 0
    for stride in STRIDES:
        cells = side // stride
        part = wanted[first : first + cells**2].reshape(cells, cells, -1)
        first += cells**2
        maps[f"score{stride}"] = np.where(part[..., :1] > 0, 5.0, -5.0).astype(np.float32)
        maps[f"box{stride}"], maps[f"points{stride}"] = part[..., 1:5], part[..., 5:15]
    return maps


def test_what_cells_should_say_is_decoded_into_the_same_faces():
    there = faces((20, 30, 12, 15), (100, 90, 40, 50), (60, 120, 90, 120))
    found = decode(maps_of(targets(there, 256, RECIPE.assignment), 256), 0.5)
    order = np.argsort(found.boxes[:, 2])
    assert found.boxes[order] == pytest.approx(there.boxes, abs=0.01)
    assert found.points[order] == pytest.approx(there.points, abs=0.01)


def test_faces_that_nobody_is_sure_of_are_neither_rewarded_nor_punished():
    doubtful = targets(faces((100, 90, 40, 50), (20, 20, 5, 6), ignored=(0,)), 256, RECIPE.assignment)
    assert set(np.unique(doubtful[:, 0])) == {-1, 0}


def test_faces_and_landmarks_stay_on_the_face_however_a_picture_is_composed():
    """The darkest and the brightest thing of a drawn scene are its eyes: they are where the landmarks say."""
    image = np.full((200, 200), 128, np.uint8)
    cv2.circle(image, (80, 90), 6, 0, -1)  # right eye
    cv2.circle(image, (120, 90), 6, 255, -1)  # left eye
    points = np.array([[(80, 90), (120, 90), (100, 110), (85, 130), (115, 130)]], np.float32)
    scene = Scene(
        "drawn.png", "test", image, Faces(np.array([[60, 60, 80, 90]], np.float32), points, np.zeros(1, bool))
    )
    plain = RECIPE.composition.model_copy(update={"pasted": 0.0, "masked": 0.0, "sunglasses": 0.0, "parts": (1, 0, 0)})
    rng, seen, mirrored = np.random.default_rng(0), 0, 0
    for _ in range(60):
        picture, there = compose([scene], plain, rng)
        for known in there.points[~there.ignored & (there.boxes[:, 2] > 40).repeat(1)]:
            if np.isnan(known[:2]).any():
                continue
            x, y = known[:2].round().astype(int).clip(0, 255).T
            greys = picture[y[0], x[0]], picture[y[1], x[1]]
            assert min(greys) < 80
            assert max(greys) > 170
            assert x[0] < x[1]  # the right eye is on the picture's left, mirrored or not
            seen, mirrored = seen + 1, mirrored + bool(greys[0] > greys[1])
    assert seen > 20
    assert 0 < mirrored < seen


def test_a_composition_is_the_same_for_the_same_seed_and_development_keeps_its_shape():
    first, second = (compose([astronaut()], RECIPE.composition, np.random.default_rng(7)) for _ in range(2))
    assert (first[0] == second[0]).all()
    assert (first[1].boxes == second[1].boxes).all()
    rng = np.random.default_rng(1)
    for _ in range(40):
        assert develop(first[0], RECIPE.photometry, rng).shape == (256, 256)


def test_recall_and_false_alarms_are_counted_face_by_face():
    scene = Scene(
        "a",
        "test",
        np.zeros((240, 320), np.uint8),
        faces((10, 10, 20, 20), (100, 100, 60, 60), (200, 20, 30, 30), ignored=(2,)),
    )
    boxes = np.array([(11, 10, 20, 20), (12, 10, 20, 20), (200, 22, 30, 30), (250, 150, 40, 40)], np.float32)
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)  # a face, the same again, an ignored one, nothing
    answers = judge(lambda _: Found(boxes, np.zeros((4, 5, 2), np.float32), scores), [scene])
    assert answers.recall(0.0, 12) == 0.5
    assert answers.recall(0.0, 48) == 0.0
    assert answers.alarms(0.0) == 2  # the second box on one face is a false alarm, too
    assert answers.alarms(0.85) == 0
    assert answers.score_at(1) > 0.6


def test_faces_are_measured_in_the_frame_whatever_size_they_are_shown_at():
    scene = Scene("a", "test", np.zeros((480, 640), np.uint8), faces((100, 100, 60, 60)))
    image, there = fitted(scene, 2.0)
    assert image.shape == (480, 640)
    nothing = Found(np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, np.float32))
    assert judge(lambda _: nothing, [scene], 2.0).sizes == pytest.approx([30])
    assert there.boxes[0, 2] == 60


@pytest.mark.shared
def test_sources_for_research_only_are_measured_on_and_never_trained_on():
    archive = shared(SHARED / "data" / "face_scenes.zip")
    with zipfile.ZipFile(archive) as files:
        rows = csv.DictReader(io.TextIOWrapper(files.open("sources.csv"), encoding="utf-8"))
        barred = {row["source"] for row in rows if row["terms_class"] == "research"}
    assert barred & {scene.source for scene in read_scenes(archive, "val")}
    assert not barred & {scene.source for scene in read_scenes(archive, "train")}


def write_archive(path: Path) -> Path:
    """A tiny archive of the same form: one face, and one picture without."""
    scene = astronaut()
    head = "image,x,y,w,h,score,ignore,source,re_x,re_y,le_x,le_y,nose_x,nose_y,rm_x,rm_y,lm_x,lm_y,origin"
    box, points = scene.faces.boxes[0], scene.faces.points[0].ravel()
    labels, images = [head], ["image,width,height,source,split,group,faces,ignored,labels,checked,original"]
    with zipfile.ZipFile(path, "w") as files:
        for split in ("train", "val"):
            for name, image in ((f"{split}_face.jpg", scene.image), (f"{split}_none.jpg", scene.image[300:, :100])):
                files.writestr(f"images/{name}", cv2.imencode(".jpg", image)[1].tobytes())
                images.append(f"{name},{image.shape[1]},{image.shape[0]},test,{split},1,1,0,hand,1,x")
            labels.append(f"{split}_face.jpg,{','.join(map(str, box))},0.9,0,test,{','.join(map(str, points))},hand")
        files.writestr("labels.csv", "\n".join(labels))
        files.writestr("images.csv", "\n".join(images))
        files.writestr("sources.csv", "source,images,terms_class,terms\ntest,4,open,MIT")
    return path


@pytest.mark.training
@pytest.mark.timeout(400)
def test_a_run_can_be_made_longer_but_not_be_another_one(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    from training.faces.train import fit

    archive, run = write_archive(tmp_path / "scenes.zip"), tmp_path / "run"
    monkeypatch.setattr("quantization.faces.convert.REPRESENTATIVE", 8)
    small = RECIPE.model_copy(
        update={
            "network": Network(widths=(8, 8, 8, 8), blocks=(1, 0, 0)),
            "composition": RECIPE.composition.model_copy(update={"side": 64}),
            "pictures": 8,
            "batch_size": 4,
            "epochs": 1,
            "warmup_steps": 1,
            "judge_every": 1,
        }
    )
    fit(small, archive, run)
    fit(small.model_copy(update={"epochs": 2}), archive, run)
    history = json.loads((run / "history.json").read_text())
    assert [row["epoch"] for row in history] == [1, 2]
    assert json.loads((run / "run.json").read_text())["scenes_by_terms"] == {"open": {"test": 2}}
    with pytest.raises(InputError, match="begun with another recipe"):
        fit(small.model_copy(update={"learning_rate": 1.0}), archive, run)
    other = write_archive(tmp_path / "other.zip")
    with zipfile.ZipFile(other, "a") as files:
        files.writestr("README", "changed")
    with pytest.raises(InputError, match="begun with other data"):
        fit(small, other, run)
    _serves_several_sizes(archive, run)


def _serves_several_sizes(archive: Path, run: Path) -> None:
    """The int8 file of a run takes pictures of any multiple of 32."""
    from quantization.faces.convert import convert

    content, numbers = convert(run, archive).read_bytes(), json.loads((run / "convert.json").read_text())["outputs"]
    _, interpreter = open_interpreter(content)
    entry = interpreter.get_input_details()[0]["index"]
    for height, width in ((64, 96), (256, 320), (64, 96)):
        interpreter.resize_tensor_input(entry, [1, height, width, 1])
        interpreter.allocate_tensors()
        interpreter.set_tensor(entry, np.zeros((1, height, width, 1), np.int8))
        interpreter.invoke()
        outputs = interpreter.get_output_details()
        for stride in STRIDES:
            answer = interpreter.get_tensor(outputs[numbers[f"box{stride}"]]["index"])
            assert answer.shape == (1, height // stride, width // stride, 4)
            assert answer.dtype == np.int8
