import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from mien.data.faceset import SPLITS, FaceSet
from mien.drawn import draw_face
from mien.errors import MienError
from mien.evaluation.audit import inspect, rows_to_leave_out, write_audit
from mien.images import prepare
from mien.labels import FER2013

ROWS = 60


@pytest.fixture(scope="module")
def faces():
    """60 people in training, then planted rows: what they are stands in their ids."""
    people = [prepare(draw_face(FER2013[seed % 7], seed, 96), 48, 1) for seed in range(ROWS)]
    sign = np.zeros((48, 48), dtype=np.uint8)
    sign[20:28, 20:28] = 255
    planted = [
        ("exact copy of 0 in test", people[0], 0, "test"),
        ("darker copy of 1 in validation", (people[1] * 0.8 + 9).astype(np.uint8), 1, "validation"),
        ("exact copy of 2", people[2], 2, "train"),
        ("copy of 3 with another label", people[3][:, ::-1], 4, "train"),
        ("another copy of test", people[0], 0, "test"),
        ("black", np.zeros((48, 48), dtype=np.uint8), 5, "train"),
        ("nearly white, in test", np.full((48, 48), 254, dtype=np.uint8), 5, "test"),
        ("a sign", sign, 6, "train"),
    ]
    return FaceSet.from_arrays(
        np.stack([*people, *(image for _, image, _, _ in planted)]),
        [*(seed % 7 for seed in range(ROWS)), *(label for _, _, label, _ in planted)],
        FER2013,
        ["train"] * ROWS + [split for *_, split in planted],
        [*map(str, range(ROWS)), *(name for name, *_ in planted)],
    )


@pytest.fixture(scope="module")
def audit(faces):
    return inspect(faces)


def names(audit, kind):
    return {audit.faces.id(row) for row in audit.findings[kind].rows}


def test_every_planted_row_is_found_and_no_other(audit):
    assert names(audit, "exact-copy") == {"0", "exact copy of 0 in test", "another copy of test", "2", "exact copy of 2"}
    assert names(audit, "near-copy") == {"1", "darker copy of 1 in validation", "3", "copy of 3 with another label"}
    assert names(audit, "conflict") == {"3", "copy of 3 with another label"}
    assert names(audit, "blank") == {"black", "nearly white, in test"}
    assert names(audit, "no-face") == {"a sign"}
    assert audit.findings["exact-copy"].groups == audit.findings["near-copy"].groups == 2
    assert audit.findings["conflict"].groups == 1
    assert "crowd" not in audit.findings


def test_partners_are_copies_in_another_split_where_there_is_one(audit):
    for kind in ("exact-copy", "near-copy", "conflict"):
        finding = audit.findings[kind]
        assert (audit.copies.group[finding.rows] == audit.copies.group[finding.partners]).all()
        assert (finding.rows != finding.partners).all()
    exact = audit.findings["exact-copy"]
    partner = dict(zip(exact.rows.tolist(), exact.partners.tolist(), strict=True))
    assert audit.faces.id(partner[0]) == "exact copy of 0 in test"
    assert partner[ROWS] == 0
    assert partner[ROWS + 4] == 0


def test_leaks_count_the_measured_rows_with_a_copy_in_an_earlier_split(audit):
    assert [(leak.split, leak.other, leak.exact, leak.any) for leak in audit.leaks] == [
        ("validation", "train", 0, 1), ("test", "train", 2, 2), ("test", "validation", 0, 0),
    ]  # fmt: skip


def test_copies_within_and_across_splits_are_those_that_comparing_all_with_all_counts(audit, faces):
    def alike(first, second):
        return first != second and audit.copies.group[first] == audit.copies.group[second]

    def equal(first, second):
        return first != second and np.array_equal(faces.images[first], faces.images[second])

    rows = {name: [row for row in range(len(faces)) if SPLITS[faces.splits[row]] == name] for name in faces.split_names}
    expected = {
        (split, other): tuple(
            sum(any(is_copy(row, another) for another in rows[other]) for row in rows[split]) for is_copy in (equal, alike)
        )
        for split in rows
        for other in rows
    }
    assert {(each.split, each.other): (each.exact, each.any) for each in audit.overlaps} == expected
    assert expected["train", "train"] == (2, 4)
    assert expected["test", "test"] == (2, 2)


def test_images_of_odd_size_are_found_where_sizes_are_known(audit, faces, tmp_path):
    assert "size" not in audit.findings
    sizes = np.tile(np.array([[60, 50]], dtype=np.uint32), (len(faces), 1))
    sizes[4], sizes[9], sizes[11] = (240, 200), (60, 10), (100, 80)
    found = inspect(replace(faces, sizes=sizes))
    assert found.findings["size"].rows.tolist() == [9, 4]
    assert found.findings["size"].values == pytest.approx([3 * np.log2(5), 3 * 2])
    write_audit(found, tmp_path / "audit", None, None, False)
    page, record = (tmp_path / "audit" / "index.html").read_text(), json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert record["data"]["original_sizes"] == {"smallest": [60, 10], "median": [60, 50], "largest": [240, 200]}
    page = page.replace("\N{MULTIPLICATION SIGN}", "x")
    assert "10x60 to 200x240 pixels (median 50x60), compared at 48x48" in page
    assert page.index("10x60 pixels</p>") < page.index("200x240 pixels</p>")
    assert "are not known" not in page


def test_the_page_has_the_counts_of_copies_within_and_across_splits(audit, tmp_path):
    write_audit(audit, tmp_path / "audit", None, None, False)
    page = (tmp_path / "audit" / "index.html").read_text()
    (table,) = re.findall(r"Copies within and across splits</h2>.*?<tbody>(.*?)</tbody>", page, re.DOTALL)
    plain = [re.findall(r"<t[hd].*?</t[hd]>", row) for row in table.split("</tr>")[:-1]]
    cells = [[re.sub(r"<[^>]*>", "", cell) for cell in row] for row in plain]
    said = {(each.split, each.other): f"{each.exact} ({each.any})" for each in audit.overlaps}
    splits = ("train", "validation", "test")
    rows = (("train", "train, 64"), ("validation", "validation, 1"), ("test", "test, 3"))
    assert cells == [[name, *(said[split, other] for other in splits)] for split, name in rows]
    assert "The original sizes of the images are not known." in page


def test_the_list_takes_copies_out_of_training_and_never_out_of_test(audit):
    assert {audit.faces.id(row): reason for row, reason in rows_to_leave_out(audit).items()} == {
        "0": "copy of exact copy of 0 in test in test",
        "exact copy of 2": "copy of 2",
        "black": "blank",
        "a sign": "may show no face",
    }
    assert {audit.faces.id(row): reason for row, reason in rows_to_leave_out(audit, near=True).items()} == {
        "0": "copy of exact copy of 0 in test in test",
        "1": "copy of darker copy of 1 in validation in validation",
        "3": "copies of it have other labels",
        "exact copy of 2": "copy of 2",
        "copy of 3 with another label": "copies of it have other labels",
        "black": "blank",
        "a sign": "may show no face",
    }


def test_exact_copies_with_other_labels_are_all_listed(faces):
    other = np.where(np.arange(len(faces)) == ROWS + 2, 3, faces.classes)
    changed = replace(faces, targets=np.eye(7, dtype=np.float32)[other])
    listed = {faces.id(row): reason for row, reason in rows_to_leave_out(inspect(changed)).items()}
    assert listed["2"] == listed["exact copy of 2"] == "copies of it have other labels"


def test_data_without_splits_lose_all_but_one_of_their_copies(faces):
    audit = inspect(replace(faces, splits=np.zeros(len(faces), dtype=np.uint8)))
    assert set(rows_to_leave_out(audit)) == {ROWS + row for row in (0, 2, 4, 5, 6, 7)}
    assert set(rows_to_leave_out(audit, near=True)) == {3, *(ROWS + row for row in range(8))}


def test_the_crowd_is_compared_with_the_labels_where_it_is_beside_them(faces):
    votes = np.array(faces.targets)
    votes[7] = np.eye(7)[3]
    votes[8] = [0.3, 0.5, 0.2, 0, 0, 0, 0]
    votes[9] = 0  # nobody was asked
    finding = inspect(replace(faces, votes=votes)).findings["crowd"]
    assert finding.rows.tolist() == [7]
    assert finding.values.tolist() == [1.0]


def test_the_folder_holds_every_row_the_counts_and_a_page_that_opens_offline(audit, tmp_path):
    listed = write_audit(audit, tmp_path / "audit", tmp_path / "clean.csv", "mien audit <faces> & more", False)
    assert {path.name for path in (tmp_path / "audit").iterdir()} == {"index.html", "findings.csv", "audit.json"}
    record = json.loads((tmp_path / "audit" / "audit.json").read_text())
    with (tmp_path / "audit" / "findings.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    for kind, counted in record["findings"].items():
        assert counted["rows"] == sum(row["finding"] == kind for row in found)
    assert sum(sum(counts.values()) for counts in record["counts"].values()) == len(audit.faces)
    row = next(row for row in found if row["finding"] == "conflict" and row["id"] == "3")
    assert (row["split"], row["label"], row["partner"]) == ("train", "happy", "copy of 3 with another label")
    with (tmp_path / "clean.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [
            audit.faces.id(row) for row in rows_to_leave_out(audit)
        ]  # fmt: skip
    assert listed == 4
    page = (tmp_path / "audit" / "index.html").read_text()
    assert "mien audit &lt;faces&gt; &amp; more" in page
    assert not re.findall(r'(?:src|href)="(?!data:image/png|#|findings\.csv|audit\.json)', page)
    assert page.count("<img") == 2 + 2 * 2 + 2 + 2 + 1 + len(audit.findings["brightness"].rows)
    assert "2 of 3 test faces have an exact copy in train" in page


def test_an_earlier_audit_is_replaced_with_its_list_and_nothing_else_is(audit, tmp_path):
    out = tmp_path / "audit"
    for _ in range(2):
        assert write_audit(audit, out, out / "clean.csv", None, False) == 4
    assert {path.name for path in out.iterdir()} == {"index.html", "findings.csv", "audit.json", "clean.csv"}
    (out / "mine.txt").write_text("dear diary")
    with pytest.raises(MienError, match=r"holds 'mine.txt'"):
        write_audit(audit, out, None, None, False)


def test_no_rows_cannot_be_audited(faces):
    with pytest.raises(MienError, match="no rows"):
        inspect(faces.take(np.arange(0)))


def test_three_rows_can(faces):
    assert inspect(faces.take(np.array([0, 1, ROWS]))).findings["exact-copy"].groups == 1
