import pytest

from mien.data.reading import drop_rows, read_faces
from mien.data.source import DataSource
from mien.errors import MienError

VOTES_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
OFFICIAL = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}


@pytest.fixture
def source(write):
    return write["fer2013-csv"]()


@pytest.fixture
def write_list(tmp_path):
    def write_ids(*ids, column="id"):
        path = tmp_path / "clean.csv"
        path.write_text("\n".join([f"split,{column}", *(f"train,{name}" for name in ids)]) + "\n")
        return path

    return write_ids


def test_the_listed_rows_are_gone_and_the_origin_says_how_many(source, write_list):
    whole = read_faces(source)
    faces = read_faces(DataSource(source, drop=write_list("3", "20", "3")))
    kept = [row for row in range(28) if row not in (3, 20)]
    assert faces.ids.tolist() == whole.ids[kept].tolist()
    assert (faces.images == whole.images[kept]).all()
    assert faces.split_names == whole.split_names
    assert faces.origin.kind == f"{whole.origin.kind}, without 2 rows that clean.csv lists"


def test_a_pack_and_a_folder_are_matched_by_their_ids_too(write, write_list):
    for name in ("pack", "folders"):
        path = write[name]()
        whole = read_faces(path)
        faces = read_faces(DataSource(path, drop=write_list(whole.id(5))))
        assert len(faces) == 27
        assert whole.ids[5] not in faces.ids


def test_rows_that_are_not_there_are_told(source, write_list):
    with pytest.raises(MienError, match=r"clean.csv lists 2 rows that .*fer2013.csv do not have, such as '77'; give the list"):
        read_faces(DataSource(source, drop=write_list("3", "77", "99")))


def test_a_file_without_ids_is_told(source, write_list):
    with pytest.raises(MienError, match="has no column 'id'"):
        read_faces(DataSource(source, drop=write_list("3", column="row")))


def test_a_list_that_is_not_there_is_told(source, tmp_path):
    with pytest.raises(MienError, match=r"Cannot read the list .*nowhere.csv: No such file"):
        read_faces(DataSource(source, drop=tmp_path / "nowhere.csv"))


def test_a_picture_is_no_list(source, tmp_path):
    (tmp_path / "clean.csv").write_bytes(bytes(range(256)))
    with pytest.raises(MienError, match="Cannot read the list"):
        read_faces(DataSource(source, drop=tmp_path / "clean.csv"))


def test_nothing_would_be_left(source, write_list):
    with pytest.raises(MienError, match="lists all 28 rows"):
        read_faces(DataSource(source, drop=write_list(*map(str, range(28)))))


def test_one_label_alone_is_not_enough_after_it_either(source, write_list):
    with pytest.raises(MienError, match="have the label 'angry'"):
        read_faces(DataSource(source, drop=write_list(*(str(row) for row in range(28) if row % 7))))


def test_an_empty_list_leaves_all_rows(source, write_list):
    assert len(read_faces(DataSource(source, drop=write_list()))) == 28


def test_one_list_serves_with_votes_that_leave_rows_out_themselves(source, sample, write_list, tmp_path):
    votes = tmp_path / "fer2013new.csv"
    lines = [f"{OFFICIAL[split]},fer{row:07}.png," + ("0,0,0,0,0,0,0,0,0,10" if row == 3 else "2,4,0,4,0,0,0,0,0,0")
             for row, split in enumerate(sample.splits)]  # fmt: skip
    votes.write_text("\n".join([VOTES_HEADER, *lines]) + "\n")
    faces = read_faces(DataSource(source, votes=votes, drop=write_list("3", "4")))
    assert len(faces) == 26
    assert read_faces(DataSource(source, votes=votes, votes_as="beside", drop=write_list("3", "4"))).votes is not None


def test_a_list_of_other_data_is_no_use_whatever_was_left_out_before(source, write_list):
    with pytest.raises(MienError, match="lists 1 row that"):
        drop_rows(read_faces(source), write_list("77"), some_are_gone=True)
