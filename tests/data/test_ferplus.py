import numpy as np
import pytest

from mien.data.ferplus import vote_targets
from mien.data.reading import read_faces
from mien.data.source import DataSource
from mien.errors import MienError
from mien.labels import FERPLUS

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
    with pytest.raises(MienError, match=r"row number in fer2013\.csv, which train/happy/Training_1\.jpg does not tell"):
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
