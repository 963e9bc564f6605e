"""mien audit and --data.drop, end to end."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.labels import FER2013


@pytest.fixture
def leaky(faces, tmp_path):
    """The drawn faces, with a test face also in training and a black image."""
    folder = tmp_path / "leaky"
    shutil.copytree(faces, folder)
    first = sorted((folder / "test" / "happy").iterdir())[0]
    shutil.copy(first, folder / "train" / "happy" / "leak.png")
    Image.fromarray(np.zeros((48, 48), dtype=np.uint8)).save(folder / "train" / "sad" / "black.png")
    return folder


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_an_audit_lists_is_left_out_and_then_it_is_clean(leaky, tmp_path, capsys):
    clean = tmp_path / "clean.csv"
    assert main(["audit", "--data", str(leaky), "--out", str(tmp_path / "audit"), "--write", str(clean)]) == 0
    out, err = capsys.readouterr()
    assert "1 of 14 test faces have an exact copy in train" in out
    assert f"train with --data.drop {clean}" in err
    listed = {row["id"]: row["reason"] for row in read(clean)}
    assert {"train/happy/leak.png", "train/sad/black.png"} <= set(listed)
    assert all(not name.startswith("test/") for name in listed)

    words = ["audit", "--data", str(leaky), "--data.drop", str(clean), "--out", str(tmp_path / "again")]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert f"without {len(listed)} rows that clean.csv lists: {58 - len(listed)} faces" in err
    assert "0 of 14 test faces have an exact copy in train, 0 an exact or near one" in out
    record = json.loads((tmp_path / "again" / "audit.json").read_text())
    assert record["data"]["rows"] == 58 - len(listed)
    assert record["findings"]["exact-copy"]["rows"] == record["findings"]["blank"]["rows"] == 0


def test_images_of_another_size_are_found_in_folders(leaky, tmp_path, capsys):
    for name, size in (("small", (12, 12)), ("flat", (200, 40))):
        face = Image.open(sorted((leaky / "train" / "fear").iterdir())[0])
        face.resize(size).save(leaky / "train" / "angry" / f"{name}.png")
    assert main(["audit", "--data", str(leaky), "--out", str(tmp_path / "audit")]) == 0
    found = [row["id"] for row in read(tmp_path / "audit" / "findings.csv") if row["finding"] == "size"]
    assert sorted(found) == ["train/angry/flat.png", "train/angry/small.png"]
    page = (tmp_path / "audit" / "index.html").read_text().replace("\N{MULTIPLICATION SIGN}", "x")
    assert "12x12 to 200x40 pixels (median 48x48)" in page


def save(folder, name, image):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / name)


@pytest.fixture(scope="module")
def studio(take, tmp_path_factory):
    """Ten people, seven expressions, three shots of each in one place and light, and no copies."""
    folder = tmp_path_factory.mktemp("studio")
    for person in range(10):
        for label in FER2013:
            for shot in range(3):
                save(folder, f"{label}/{person}-{shot}.png", take(person, label, shot, head=0.06))
    return folder


def test_a_studio_set_without_copies_loses_no_row(studio, tmp_path):
    words = ["audit", "--data", str(studio), "--out", str(tmp_path / "audit"), "--write", str(tmp_path / "clean.csv"), "--near"]
    assert main(words) == 0
    assert read(tmp_path / "clean.csv") == []
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())["findings"]
    assert [found[kind]["rows"] for kind in ("exact-copy", "near-copy", "conflict", "blank", "no-face")] == [0] * 5


def test_of_a_studio_set_with_planted_copies_exactly_these_are_listed(studio, tmp_path, capsys):
    folder, planted = tmp_path / "faces", []
    shutil.copytree(studio, folder)
    names = sorted(path.relative_to(studio).as_posix() for path in studio.rglob("*.png"))
    changes = [
        lambda face: face[:, ::-1],
        lambda face: np.clip(face * 1.2 + 8, 0, 255).astype(np.uint8),
        lambda face: np.asarray(Image.fromarray(face).resize((40, 40), Image.Resampling.BICUBIC)),
        lambda face: np.pad(face, ((0, 1), (0, 1)), mode="edge")[1:, 1:],
    ]
    for number, name in enumerate(np.random.default_rng(0).permutation(names)[:30].tolist()):
        face = np.asarray(Image.open(studio / name))
        planted.append(f"{name.split('/')[0]}/z{number}.png")  # after the original, which stays
        save(folder, planted[-1], face if number < 10 else changes[number % 4](face))
    words = ["audit", "--data", str(folder), "--out", str(tmp_path / "audit"), "--write", str(tmp_path / "clean.csv")]
    assert main(words) == 0
    assert {row["id"] for row in read(tmp_path / "clean.csv")} == set(planted[:10])
    assert main([*words, "--near"]) == 0
    assert {row["id"] for row in read(tmp_path / "clean.csv")} == set(planted)
    assert "30 rows to leave out are listed" in (said := capsys.readouterr().err)
    assert f"train with --data.drop {tmp_path / 'clean.csv'}" in said
    assert main([*words[:-1], str(tmp_path / "none.csv"), "--data.drop", str(tmp_path / "clean.csv")]) == 0
    assert "0 rows to leave out are listed" in (said := capsys.readouterr().err)
    assert "train with" not in said


def test_a_list_that_takes_too_much_is_only_written_if_forced(faces, tmp_path, capsys):
    few, first = tmp_path / "few", {path.parent.name: path for path in sorted(faces.rglob("test/*/*.png"))}
    for label, path in first.items():
        for number in range(5 if label == "happy" else 1):
            save(few, f"{label}/{number}.png", np.asarray(Image.open(path)))
    shutil.copy(first["sad"], few / "angry" / "sad.png")
    words = ["audit", "--data", str(few), "--out", str(tmp_path / "audit"), "--write", str(tmp_path / "clean.csv")]
    assert "would leave out 6 of 12 rows and every row of 'sad'" in complaint(capsys, words)
    assert not (tmp_path / "clean.csv").exists()
    assert (tmp_path / "audit" / "index.html").exists()
    assert main([*words, "--force"]) == 0
    assert len(read(tmp_path / "clean.csv")) == 6


def complaint(capsys, words):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


def test_mistakes_are_reported_in_a_sentence_before_anything_is_written(faces, tmp_path, capsys):
    (tmp_path / "table.csv").write_text("path,label\na.png,happy\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("Dear me")
    start = ["audit", "--data", str(faces), "--out"]
    audit = str(tmp_path / "audit")
    assert "not a list written by mien audit" in complaint(capsys, [*start, audit, "--write", str(tmp_path / "table.csv")])
    assert "is a folder; name a file" in complaint(capsys, [*start, audit, "--write", str(tmp_path / "full")])
    assert "what the audit itself writes" in complaint(capsys, [*start, audit, "--write", f"{audit}/findings.csv"])
    assert "is no audit of mien" in complaint(capsys, [*start, str(tmp_path / "full")])
    assert "has no column 'id'" in complaint(capsys, [*start, audit, "--data.drop", str(tmp_path / "table.csv")])
    assert "missing: --out" in complaint(capsys, start[:3])
    assert not (tmp_path / "audit").exists()
    assert (tmp_path / "table.csv").read_text().startswith("path,label")


def test_images_that_cannot_be_read_are_listed_beside_the_page(leaky, tmp_path, capsys):
    (leaky / "train" / "sad" / "broken.jpg").write_bytes(b"no picture")
    words = ["audit", "--data", str(leaky), "--data.skip_bad", "--out", str(tmp_path / "audit")]
    assert main([*words, "--write", str(tmp_path / "audit" / "skipped.txt")]) == 2
    assert "is what the audit itself writes" in capsys.readouterr().err
    assert main(words) == 0
    assert f"images that were left out: 1; they are listed in {tmp_path / 'audit' / 'skipped.txt'}" in capsys.readouterr().err
    assert "broken.jpg" in (tmp_path / "audit" / "skipped.txt").read_text()
    (leaky / "train" / "sad" / "broken.jpg").unlink()
    assert main(words) == 0  # replaces the earlier audit
    assert not (tmp_path / "audit" / "skipped.txt").exists()
