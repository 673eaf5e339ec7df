"""Reading FER-2013 and FER+: every packing, every fault by its row, and nothing of a test split in Training."""

from __future__ import annotations

import gzip
import lzma
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.errors import InputError
from tests.support.fer import VOTES_HEADER, csv_row, pattern, votes_row, write_csv
from training.data import EMOTIONS, PRIVATE, PUBLIC, TRAINING, divide, find_source, halves, load, with_photos

IMAGE = np.zeros((48, 48), np.uint8)
HEADER = "emotion,pixels,Usage"


def lines(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n")
    return path


def packed_as(packing: str, plain: Path) -> Path:
    packed, content = plain.with_name(f"fer2013.{packing}"), plain.read_bytes()
    match packing:
        case "csv.gz":
            packed.write_bytes(gzip.compress(content))
        case "csv.xz":
            packed.write_bytes(lzma.compress(content))
        case "zip":
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("fer2013/fer2013.csv", content)
    return packed


@pytest.mark.parametrize("packing", ["csv", "csv.gz", "csv.xz", "zip"])
def test_every_packing_reads_the_same(tmp_path: Path, packing: str) -> None:
    plain = write_csv(tmp_path) / "fer2013.csv"
    wanted = load(find_source(plain))
    if packed_as(packing, plain) != plain:
        plain.unlink()
    found = load(find_source(tmp_path))
    np.testing.assert_array_equal(found.images, wanted.images)
    np.testing.assert_array_equal(found.labels, wanted.labels)
    np.testing.assert_array_equal(found.votes, wanted.votes)


def test_votes_are_the_ones_beside_the_file_or_the_folder(tmp_path: Path) -> None:
    """A CSV named by itself must not train without the votes that its folder would train with."""
    votes = write_csv(tmp_path) / "fer2013new.csv"
    for data in (tmp_path, tmp_path / "fer2013.csv"):
        assert find_source(data).votes == votes
    other = votes.rename(tmp_path / "other.csv")
    assert find_source(tmp_path / "fer2013.csv").votes is None
    assert find_source(tmp_path / "fer2013.csv", other).votes == other


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (csv_row(7, IMAGE, TRAINING), "row 3: emotion is '7', not 0 to 6"),
        (csv_row(0, IMAGE, "Test"), "row 3: Usage is 'Test', not one of"),
        (csv_row(0, IMAGE[:47], TRAINING), "row 3: 2256 pixels, not 2304"),
        (csv_row(0, IMAGE, TRAINING).replace("0 0 0", "0 256 0", 1), "row 3: a pixel is not between 0 and 255"),
        (csv_row(0, IMAGE, TRAINING).replace("0 0 0", "0 -1 0", 1), "row 3: a pixel is not between 0 and 255"),
        (csv_row(0, IMAGE, TRAINING).replace("0 0 0", "0 x 0", 1), "row 3: a pixel is not a whole number"),
    ],
)
def test_a_bad_row_is_refused_with_its_number_and_reason(tmp_path: Path, row: str, reason: str) -> None:
    path = lines(tmp_path / "fer2013.csv", HEADER, csv_row(0, IMAGE, TRAINING), row)
    with pytest.raises(InputError, match=rf"fer2013\.csv: {reason}"):
        load(find_source(path))


def test_many_bad_rows_are_counted(tmp_path: Path) -> None:
    path = lines(tmp_path / "fer2013.csv", HEADER, *[csv_row(9, IMAGE, TRAINING)] * 14)
    with pytest.raises(InputError, match=r"row 11: .*; and 4 more$"):
        load(find_source(path))


def test_a_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "fer2013.csv", "emotion,pixels", "0,0")
    with pytest.raises(InputError, match="first line lacks the columns Usage"):
        load(find_source(path))


@pytest.mark.parametrize("packing", ["csv.gz", "csv.xz", "zip"])
@pytest.mark.parametrize("damage", ["cut off", "overwritten", "something else"])
def test_a_damaged_archive_is_refused(tmp_path: Path, packing: str, damage: str) -> None:
    plain = write_csv(tmp_path) / "fer2013.csv"
    packed = packed_as(packing, plain)
    plain.unlink()
    whole = packed.read_bytes()
    half = len(whole) // 2
    packed.write_bytes(
        {
            "cut off": whole[:-400],
            "overwritten": whole[:half] + b"\xff" * 64 + whole[half + 64 :],
            "something else": b"<html>log in</html>",
        }[damage]
    )
    with pytest.raises(InputError, match=rf"fer2013\.{packing}: cannot be read: "):
        load(find_source(tmp_path))


def test_an_archive_with_a_password_is_refused(tmp_path: Path) -> None:
    """Of the flags in the directory of a zip file, the first says that its member is encrypted."""
    plain = write_csv(tmp_path) / "fer2013.csv"
    packed = packed_as("zip", plain)
    plain.unlink()
    content = bytearray(packed.read_bytes())
    for entry, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.index(entry) + flags] |= 1
    packed.write_bytes(content)
    with pytest.raises(InputError, match=r"fer2013\.zip: cannot be unpacked: .*password.*; unpack it yourself"):
        load(find_source(tmp_path))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images in it"):
        load(find_source(lines(tmp_path / "fer2013.csv", HEADER)))


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither fer2013\.csv"):
        find_source(tmp_path)


def test_votes_are_joined_by_row_and_folded_to_seven(tmp_path: Path) -> None:
    faces = load(find_source(write_csv(tmp_path)))
    assert faces.votes.shape == (98, 7)
    np.testing.assert_array_equal(faces.majority(), faces.labels)
    assert faces.votes[EMOTIONS.index("happy")].tolist() == [0, 0, 0, 8, 0, 0, 2]


def test_votes_of_another_length_are_refused(tmp_path: Path) -> None:
    write_csv(tmp_path)
    lines(tmp_path / "fer2013new.csv", VOTES_HEADER, votes_row(0, TRAINING))
    with pytest.raises(InputError, match="1 rows of votes for 98 images"):
        load(find_source(tmp_path))


def test_votes_of_another_order_are_refused(tmp_path: Path) -> None:
    write_csv(tmp_path, training=1, public=1)
    lines(tmp_path / "fer2013new.csv", VOTES_HEADER, votes_row(0, PUBLIC), votes_row(0, TRAINING))
    with pytest.raises(InputError, match="row 2: Usage is 'PublicTest', but 'Training'"):
        load(find_source(tmp_path))


def test_rows_without_votes_have_no_majority(tmp_path: Path) -> None:
    write_csv(tmp_path, training=1, public=1)
    lines(tmp_path / "fer2013new.csv", VOTES_HEADER, f"{TRAINING},,0,0,0,0,0,0,0,0,0,10", votes_row(0, PUBLIC))
    assert load(find_source(tmp_path)).majority().tolist() == [-1, 0]


def test_training_loses_copies_of_test_images_and_what_is_no_face(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    copied, secret, other = (pattern(label, rng) for label in (0, 1, 2))
    images = [(copied, TRAINING), (secret, TRAINING), (other, TRAINING), (other + 1, TRAINING), (copied, PUBLIC)]
    rows = [csv_row(0, image, split) for image, split in [*images, (pattern(3, rng), PUBLIC), (secret, PRIVATE)]]
    lines(tmp_path / "fer2013.csv", HEADER, *rows)
    splits = [row.rsplit(",", 1)[1] for row in rows]
    votes = [votes_row(0, split, no_face=50 if i == 3 else 0) for i, split in enumerate(splits)]
    lines(tmp_path / "fer2013new.csv", VOTES_HEADER, *votes)
    division = divide(load(find_source(tmp_path)))
    assert division.dropped == {"also_in_a_test_split": 2, "not_a_face": 1}
    np.testing.assert_array_equal(division.training.images, other[None])


@pytest.mark.parametrize(
    ("votes", "dropped"),
    [
        # VOTES_HEADER's order: neutral, happy and so on, then contempt, unknown, not a face.
        pytest.param("0,5,0,0,0,0,0,0,0,5", 0, id="half of the voters"),
        pytest.param("0,4,0,0,0,0,0,0,0,5", 1, id="one more than half"),
        pytest.param("0,3,0,0,0,0,0,0,3,4", 0, id="most, but not half, as others knew no answer"),
        pytest.param("0,0,0,0,0,0,0,2,3,5", 0, id="half, and nobody for the seven"),
        pytest.param("0,0,0,0,0,0,0,0,0,0", 0, id="nobody voted"),
    ],
)
def test_no_face_is_what_more_than_half_of_all_voters_call_so(tmp_path: Path, votes: str, dropped: int) -> None:
    write_csv(tmp_path, training=2, public=1)
    rows = [f"{TRAINING},,{votes}", votes_row(1, TRAINING), votes_row(0, PUBLIC)]
    lines(tmp_path / "fer2013new.csv", VOTES_HEADER, *rows)
    assert divide(load(find_source(tmp_path))).dropped["not_a_face"] == dropped


def test_private_test_never_enters_a_run(tmp_path: Path) -> None:
    division = divide(load(find_source(write_csv(tmp_path, private=21))))
    for part in (division.training, division.selection, division.calibration):
        assert PRIVATE not in part.splits
    assert set(division.training.splits) == {TRAINING}


def test_data_without_public_test_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no PublicTest images"):
        divide(load(find_source(write_csv(tmp_path, public=0))))


def test_halves_are_disjoint_complete_stratified_and_seeded() -> None:
    labels = np.random.default_rng(0).integers(0, 7, 1001)
    first, second = halves(labels, seed=5)
    assert sorted([*first, *second]) == list(range(1001))
    difference = np.bincount(labels[first], minlength=7) - np.bincount(labels[second], minlength=7)
    assert np.abs(difference).max() <= 1
    np.testing.assert_array_equal(first, halves(labels, seed=5)[0])
    assert (first[:100] != halves(labels, seed=6)[0][:100]).any()


def write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def test_image_folders_are_read_by_split_and_emotion(tmp_path: Path) -> None:
    """Kaggle's folder keeps both test splits in ``test``; the files' names tell them apart."""
    write_image(tmp_path / "train/happy/Training_1.png", IMAGE)
    write_image(tmp_path / "test/disgusted/PublicTest_2.png", IMAGE + 9)
    write_image(tmp_path / "test/sad/PrivateTest_3.png", IMAGE)
    faces = load(find_source(tmp_path))
    found = sorted(zip(faces.splits.tolist(), faces.labels.tolist(), faces.images.max((1, 2)).tolist(), strict=True))
    assert found == [(PRIVATE, 4, 0), (PUBLIC, 1, 9), (TRAINING, 3, 0)]


def test_folders_train_and_test_keep_a_tenth_of_training_to_choose_on_and_say_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is chosen on what somebody calls test."""
    for split, count in (("train", 30), ("test", 5)):
        for emotion in ("happy", "sad"):
            folder = tmp_path / split / emotion
            folder.mkdir(parents=True)
            for i in range(count):
                assert cv2.imwrite(str(folder / f"{i:02d}.png"), np.full((48, 48), i, np.uint8))
    faces = load(find_source(tmp_path))
    counts = {split: int((faces.splits == split).sum()) for split in (TRAINING, PUBLIC, PRIVATE)}
    assert counts == {TRAINING: 54, PUBLIC: 6, PRIVATE: 10}
    assert np.bincount(faces.labels[faces.splits == PUBLIC]).tolist() == [0, 0, 0, 3, 3]
    np.testing.assert_array_equal(faces.splits, load(find_source(tmp_path)).splits)
    assert "has no folder val, so 6 of 60 training images" in caplog.text


def test_photos_join_training_as_often_as_asked_with_their_label_as_the_only_vote(tmp_path: Path) -> None:
    faces = load(find_source(write_csv(tmp_path, training=7, public=7)))
    training = faces[faces.splits == TRAINING]
    photos = replace(training[np.array([3])], votes=np.zeros((1, 7), np.float32))
    joined = with_photos(training, photos, repeated=2)
    assert len(joined) == 9
    np.testing.assert_array_equal(joined.images[7:], np.stack([training.images[3]] * 2))
    assert joined.votes[7:].tolist() == [[0, 0, 0, 1, 0, 0, 0]] * 2
    np.testing.assert_array_equal(joined.votes[:7], training.votes)


def test_votes_for_image_folders_are_refused(tmp_path: Path) -> None:
    """They were left out without a word."""
    write_image(tmp_path / "train/happy/Training_1.png", IMAGE)
    with pytest.raises(InputError, match=r"votes\.csv: votes are joined to the rows of a CSV"):
        find_source(tmp_path, tmp_path / "votes.csv")


def test_images_of_another_size_or_place_are_named(tmp_path: Path) -> None:
    write_image(tmp_path / "train/happy/wide.png", np.zeros((48, 64), np.uint8))
    write_image(tmp_path / "train/bored/a.png", IMAGE)
    (tmp_path / "train/sad").mkdir()
    (tmp_path / "train/sad/broken.jpg").write_bytes(b"not a picture")
    with pytest.raises(InputError) as caught:
        load(find_source(tmp_path))
    message = str(caught.value)
    assert "train/happy/wide.png: 64x48, not 48x48" in message
    assert "train/bored/a.png: the folders name no known split and emotion" in message
    assert "train/sad/broken.jpg: unreadable" in message


def test_hashes_tell_data_apart(tmp_path: Path) -> None:
    source = find_source(write_csv(tmp_path))
    before = source.hashes()
    assert set(before) == {"fer2013.csv", "fer2013new.csv"}
    with source.faces.open("a") as file:
        file.write(csv_row(0, IMAGE, TRAINING))
    assert source.hashes()["fer2013.csv"] != before["fer2013.csv"]
