from dataclasses import replace

import numpy as np
import pytest

from mien.data.fer2013 import vote_targets
from mien.data.pack import write_pack
from mien.data.reading import read_faces
from mien.data.rows import Row, Rows
from mien.data.source import DataSource
from mien.errors import MienError
from mien.labels import FER2013, FERPLUS, LabelSet

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
OFFICIAL = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}


@pytest.fixture
def votes(tmp_path, sample):
    """Write votes for the 28 rows of the sample: by default all ten for happiness, but what `rows` says."""

    def write(rows=None, header=HEADER, count=28):
        path = tmp_path / "fer2013new.csv"
        lines = [
            f"{OFFICIAL[split]},fer{number:07}.png,{(rows or {}).get(number, '0,10,0,0,0,0,0,0,0,0')}"
            for number, split in enumerate(sample.splits[:count])
        ]
        path.write_text("\n".join([header, *lines, ""]))
        return path

    return write


def brute_force(votes, majority):
    """The authors' rules again, one row at a time in plain Python; None is left out."""
    votes = [vote if vote > 1 else 0 for vote in votes]
    emotions, (unknown, no_face) = votes[:-2], votes[-2:]
    top = max(emotions)
    if majority:
        return emotions.index(top) if top * 2 > sum(votes) else None
    return [vote / sum(emotions) for vote in emotions] if top and top >= unknown and top >= no_face else None


@pytest.mark.parametrize("votes_as", ["distribution", "majority"])
def test_targets_agree_with_the_rules_applied_row_by_row(votes_as):
    votes = np.random.default_rng(0).multinomial(10, [0.2] + [0.08] * 10, size=2000)[:, :10]
    targets = vote_targets(votes, votes_as)
    left_out = 0
    for row, target in zip(votes.tolist(), targets, strict=True):
        expected = brute_force(row, votes_as == "majority")
        if expected is None:
            left_out += 1
            assert not target.any()
        elif votes_as == "majority":
            assert target.tolist() == [float(i == expected) for i in range(8)]
        else:
            assert target.tolist() == pytest.approx(expected)
    assert 100 < left_out < 1900


def test_votes_take_the_place_of_the_labels_and_lone_votes_are_dropped(write, votes):
    rows = {0: "4,0,0,1,3,2,0,0,0,0"}  # neutral 4, sadness 1, anger 3, disgust 2
    faces = read_faces(DataSource(write["fer2013-csv"](), votes=votes(rows)))
    assert faces.labels == FERPLUS
    assert faces.targets[0].tolist() == pytest.approx([3 / 9, 2 / 9, 0, 0, 0, 0, 4 / 9, 0])
    assert (faces.classes[1:] == FERPLUS.index("happy")).all()
    assert "FER+" in faces.origin.kind


def test_rows_won_by_unknown_or_no_face_are_left_out(write, votes):
    rows = {1: "0,3,0,0,0,0,0,0,7,0", 2: "0,0,0,0,0,0,0,0,0,10", 3: "4,4,2,0,0,0,0,0,0,0", 4: "10,0,0,0,0,0,0,0,0,0"}
    path = votes(rows)
    faces = {
        way: read_faces(DataSource(write["fer2013-csv"](), votes=path, votes_as=way)) for way in ("distribution", "majority")
    }
    ids = {way: [found.id(row) for row in range(3)] for way, found in faces.items()}
    assert ids == {"distribution": ["0", "3", "4"], "majority": ["0", "4", "5"]}


def test_votes_go_with_parquet_by_its_row_column(tmp_path, sample, votes, write):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    faces = read_faces(DataSource(write["parquet"]()))
    table = parquet.read_table(tmp_path / "faces.parquet").append_column("row", pa.array(range(28)))
    parquet.write_table(table, tmp_path / "rows.parquet")
    path = votes({1: "0,0,0,0,0,0,0,0,0,10", 4: "10,0,0,0,0,0,0,0,0,0"})
    faces = read_faces(DataSource(tmp_path / "rows.parquet", votes=path))
    assert [faces.id(row) for row in range(3)] == ["0", "2", "3"]


def test_votes_go_with_images_named_as_ferplus_names_them(save, votes, tmp_path):
    save("faces/x/fer0000003.png")
    save("faces/x/fer0000004.png")
    faces = read_faces(DataSource(tmp_path / "faces", votes=votes({4: "10,0,0,0,0,0,0,0,0,0"})))
    assert {faces.id(row): FERPLUS[faces.classes[row]] for row in range(2)} == {
        "x/fer0000003.png": "happy",
        "x/fer0000004.png": "neutral",
    }


def test_other_images_cannot_be_matched_and_that_is_said(save, votes, tmp_path):
    save("faces/train/happy/Training_1.jpg")
    with pytest.raises(MienError, match=r"row number in fer2013\.csv, which is not known of train/happy/Training_1\.jpg"):
        read_faces(DataSource(tmp_path / "faces", votes=votes()))


def test_votes_for_fewer_rows_are_refused(write, votes):
    with pytest.raises(MienError, match=r"Row 20 is validation in the faces and beyond the end in .*official order"):
        read_faces(DataSource(write["fer2013-csv"](), votes=votes(count=20)))


def test_faces_in_another_order_are_refused(write, votes):
    path = write["fer2013-csv"]()
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *rows[::-1]]))
    with pytest.raises(MienError, match="Row 0 is test in the faces and train in"):
        read_faces(DataSource(path, votes=votes()))


def test_a_file_that_holds_no_votes_is_refused(write, votes):
    with pytest.raises(MienError, match=r"it has the columns .* and lacks surprise"):
        read_faces(DataSource(write["fer2013-csv"](), votes=votes(header=HEADER.replace("surprise", "awe"))))


def test_votes_that_are_no_numbers_are_refused(write, votes):
    with pytest.raises(MienError, match="is damaged"):
        read_faces(DataSource(write["fer2013-csv"](), votes=votes({3: "a,b,c,d,e,f,g,h,i,j"})))


def test_a_missing_file_of_votes_is_refused(write, tmp_path):
    with pytest.raises(MienError, match="nothing at"):
        read_faces(DataSource(write["fer2013-csv"](), votes=tmp_path / "votes.csv"))


def test_votes_that_change_are_read_again(write, votes):
    path = write["fer2013-csv"]()
    read_faces(DataSource(path, votes=votes({4: "10,0,0,0,0,0,0,0,0,0"})))
    faces = read_faces(DataSource(path, votes=votes({5: "10,0,0,0,0,0,0,0,0,0", 6: "10,0,0,0,0,0,0,0,0,0"})))
    assert np.flatnonzero(faces.classes == FERPLUS.index("neutral")).tolist() == [5, 6]


def test_votes_beside_labels_agree_with_the_rules_applied_row_by_row():
    votes = np.random.default_rng(0).multinomial(10, [0.2] + [0.08] * 10, size=2000)[:, :10]
    beaten = tied = voted = 0
    for row, shares in zip(votes.tolist(), vote_targets(votes, "beside"), strict=True):
        kept = [vote if vote > 1 else 0 for vote in row]
        seven, three = kept[:7], kept[7:]
        beaten += max(three) > max(seven)
        tied += max(three) == max(seven)
        if max(three) < max(seven):
            voted += 1
            assert shares.tolist() == pytest.approx([vote / sum(seven) for vote in seven])
        else:
            assert not shares.any()
    assert min(beaten, tied, voted) > 100


BESIDE = {
    0: "4,0,0,1,3,2,0,0,0,0",  # neutral 4, sadness a slip, anger 3, disgust 2
    1: "0,4,0,0,0,0,0,4,0,0",  # contempt as strong as happiness
    2: "0,3,0,0,0,0,0,0,5,0",  # unknown wins
    3: "3,0,0,0,0,0,0,0,0,3",  # not a face as strong as neutral
    4: "1,1,1,1,1,1,1,1,1,1",  # nothing but slips
    5: "5,0,0,0,0,0,0,3,2,0",  # weaker contempt and unknown are left out of the shares
}


def test_votes_beside_the_labels_leave_rows_and_labels_as_they_are(write, votes):
    path = write["fer2013-csv"]()
    alone, faces = read_faces(path), read_faces(DataSource(path, votes=votes(BESIDE), votes_as="beside"))
    assert faces.labels == FER2013
    assert np.array_equal(faces.images, alone.images)
    assert np.array_equal(faces.targets, alone.targets)
    assert np.array_equal(faces.ids, alone.ids)
    assert faces.origin.kind == "FER-2013 as CSV, with FER+ votes beside the labels"
    assert faces.votes[0].tolist() == pytest.approx([3 / 9, 2 / 9, 0, 0, 0, 0, 4 / 9])
    assert faces.votes[:6].any(axis=1).tolist() == [True, False, False, False, False, True]
    assert faces.votes[5].tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert (faces.votes[6:] == np.eye(7)[FER2013.index("happy")]).all()


def test_the_ways_of_using_votes_are_packed_apart(write, votes):
    path, file = write["fer2013-csv"](), votes({**BESIDE, 6: "10,0,0,0,0,0,0,0,0,0"})
    ways = ("distribution", "beside", "majority", "beside")
    found = [read_faces(DataSource(path, votes=file, votes_as=way)) for way in ways]
    assert [faces.votes is None for faces in found] == [True, False, True, False]
    assert len({faces.fingerprint() for faces in found}) == 3


def seven_faces(labels, split="train"):
    """One face of each label, with the names that FER+ gives to the first rows."""
    for number in range(len(labels)):
        yield Row(f"fer{number:07}.png", split, number, lambda: np.zeros((48, 48), np.uint8))


def test_votes_go_beside_labels_in_another_order_by_name(votes, tmp_path):
    labels = LabelSet(FER2013.names[::-1])
    write_pack(tmp_path / "pack", Rows("faces", labels, seven_faces(labels)), 48, 1)
    faces = read_faces(DataSource(tmp_path / "pack", votes=votes({0: BESIDE[0]}), votes_as="beside"))
    assert faces.labels == labels
    assert dict(zip(faces.labels, faces.votes[0], strict=True)) == pytest.approx(
        {"angry": 3 / 9, "disgust": 2 / 9, "neutral": 4 / 9, "fear": 0, "happy": 0, "sad": 0, "surprise": 0}
    )


@pytest.mark.parametrize("labels", [FERPLUS, LabelSet(FER2013.names[:6]), LabelSet("abcdefg")])
def test_votes_beside_other_labels_are_refused(labels, votes, tmp_path):
    write_pack(tmp_path / "pack", Rows("faces", labels, seven_faces(labels)), 48, 1)
    with pytest.raises(MienError, match=r"beside FER-2013's seven labels only .* not beside .*; name FER-2013 as --data"):
        read_faces(DataSource(tmp_path / "pack", votes=votes(), votes_as="beside"))


def test_votes_in_the_place_of_labels_leave_none_beside_them(votes, tmp_path):
    made = (replace(row, votes=np.eye(7, dtype=np.float32)[0]) for row in seven_faces(FER2013))
    write_pack(tmp_path / "pack", Rows("faces", FER2013, made), 48, 1)
    assert read_faces(tmp_path / "pack").votes is not None
    faces = read_faces(DataSource(tmp_path / "pack", votes=votes({4: "10,0,0,0,0,0,0,0,0,0"})))
    assert (faces.labels, faces.votes) == (FERPLUS, None)


@pytest.mark.parametrize("name", ["train/happy/Training_1.jpg", "x/happy.jpg"])
def test_faces_that_cannot_be_matched_get_no_votes_beside_them(name, votes, tmp_path):
    rows = (replace(row, id=name) for row in seven_faces(FER2013))
    write_pack(tmp_path / "pack", Rows("faces", FER2013, rows), 48, 1)
    with pytest.raises(MienError, match=rf"row number in fer2013\.csv, which is not known of {name}"):
        read_faces(DataSource(tmp_path / "pack", votes=votes(), votes_as="beside"))


def test_votes_beside_labels_must_belong_to_the_rows(write, votes):
    with pytest.raises(MienError, match=r"Row 20 is validation in the faces and beyond the end in .*official order"):
        read_faces(DataSource(write["fer2013-csv"](), votes=votes(count=20), votes_as="beside"))
