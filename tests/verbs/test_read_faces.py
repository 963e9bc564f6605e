import json

import numpy as np
import pytest
from PIL import Image

import mien
from mien.cli import main
from mien.data import reading
from mien.drawn import draw_photo, write_folder
from mien.inference import detection

PHOTO_LINE = "these look like photos"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos of a person in a folder per label, and one of nobody."""
    folder = tmp_path_factory.mktemp("photos") / "photos"
    for number, label in enumerate(mien.FER2013):
        (folder / label).mkdir(parents=True)
        for count in range(2):
            Image.fromarray(draw_photo([label], 10 * number + count, 320, 240)[0]).save(folder / label / f"{count}.png")
    Image.new("RGB", (320, 240), "gray").save(folder / "sad" / "meadow.png")
    return folder


def detected(photos, **options):
    return mien.read_faces(mien.DataSource(photos, detector="auto", **options))


def test_a_photo_without_a_face_is_left_out_and_named(photos):
    faces = detected(photos)
    assert len(faces) == 14
    assert faces.origin.kind == "one folder per class, faces found by yunet"
    assert faces.origin.without_face == ("sad/meadow.png",)
    assert faces.sizes.min() > 50
    assert faces.sizes.max() < 240  # the sizes of the crops, not of the photos


def test_the_faces_are_framed_as_predictions_are(photos):
    faces, classifier = detected(photos), mien.Classifier()
    found = [row for row in mien.predict(photos, classifier, head=classifier.head) if row.face == 0]
    rows = {faces.id(row): image for row, image in enumerate(faces.images)}
    for row in found:
        image = rows[row.source.removeprefix(f"{photos}/")]
        assert np.allclose(classifier.predict_proba(image[None])[0], row.probabilities, atol=1e-6)


def test_faces_are_detected_once(photos, monkeypatch):
    faces = detected(photos)
    monkeypatch.setattr(detection.FaceCropper, "faces", lambda *_: pytest.fail("searched again"))
    again = detected(photos)
    assert np.array_equal(again.images, faces.images)
    assert again.origin == faces.origin
    whole = mien.read_faces(photos)  # without a detector these are other faces
    assert len(whole) == 15
    assert whole.origin.without_face == ()


def test_another_detector_is_not_answered_from_the_cache(photos, monkeypatch):
    assert len(detected(photos)) == 14
    monkeypatch.setenv("MIEN_DETECTOR", "none")
    assert len(detected(photos)) == 15


def test_unreadable_photos_stop_the_run_unless_skipped(photos, tmp_path):
    (tmp_path / "photos").symlink_to(photos)
    table = "path,label\n" + "".join(f"photos/{label}/0.png,{label}\n" for label in ("happy", "sad"))
    (tmp_path / "list.csv").write_text(table + "photos/sad/meadow.png,sad\nlost.png,sad\n")
    with pytest.raises(mien.MienError, match=r"1 of 4 images cannot be read: row 3 \(lost.png\).*skip_bad"):
        detected(tmp_path / "list.csv")
    faces = detected(tmp_path / "list.csv", skip_bad=True)
    assert len(faces) == 2
    assert len(faces.origin.skipped) == 2
    assert faces.origin.without_face == ("row 2 (photos/sad/meadow.png)",)


def test_without_any_face_the_sentence_says_so(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        Image.new("L", (100, 100)).save(tmp_path / label / "0.png")
    with pytest.raises(mien.MienError, match="No face was found in any of the 2 images"):
        detected(tmp_path)


def test_a_detector_that_fails_concerns_its_photo(photos, monkeypatch):
    def fails(*_):
        raise RuntimeError("too blue")

    monkeypatch.setattr(detection.FaceCropper, "faces", fails)
    with pytest.raises(mien.MienError, match=r"15 of 15 images cannot be read.*face detection failed \(too blue\)"):
        detected(photos)


def test_an_unknown_detector_is_an_error_of_one_sentence(photos, tmp_path, capsys):
    assert main(["audit", "--data", str(photos), "--data.detector", "yolo", "--out", str(tmp_path / "audit")]) == 2
    assert "There is no detector 'yolo'" in capsys.readouterr().err


def test_the_room_below_has_no_detector(photos):
    with pytest.raises(mien.MienError, match=r"mien\.read_faces"):
        reading.read_faces(mien.DataSource(photos, detector="auto"))


def test_evaluate_names_the_flag_for_photos_and_the_report_counts_what_was_left_out(photos, run, tmp_path, capsys):
    command = ["evaluate", str(run), "--data", str(photos), "--out", str(tmp_path / "report")]
    assert main(command) == 0
    told = capsys.readouterr().err
    assert told.count(PHOTO_LINE) == 1
    assert "--data.detector auto" in told
    assert main([*command, "--data.detector", "auto"]) == 0
    told = capsys.readouterr().err
    assert PHOTO_LINE not in told
    assert "no face was found in 1, left out: sad/meadow.png" in told
    data = json.loads((tmp_path / "report" / "metrics.json").read_text())["data"]
    assert (data["rows"], data["skipped"], data["without_face"]) == (14, 0, 1)
    assert "No face was found in 1 photo," in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert (tmp_path / "report" / "skipped.txt").read_text() == "sad/meadow.png: no face was found\n"


@pytest.mark.parametrize("size", [48, 96, 160])
def test_cropped_faces_are_not_taken_for_photos(size, tmp_path, capsys):
    write_folder(4, tmp_path / "faces", size=size, test=0)
    assert main(["audit", "--data", str(tmp_path / "faces"), "--out", str(tmp_path / "audit")]) == 0
    assert PHOTO_LINE not in capsys.readouterr().err


def test_audit_counts_the_photos_without_a_face(photos, tmp_path, capsys):
    assert main(["audit", "--data", str(photos), "--data.detector", "auto", "--out", str(tmp_path / "audit")]) == 0
    assert "No face was found in 1 photo," in (tmp_path / "audit" / "index.html").read_text(encoding="utf-8")


def test_real_faces_are_not_taken_for_photos(real_fer2013, tmp_path, capsys):
    """FER-2013's faces, enlarged as if they had been saved so."""
    from mien.data.reading import read_faces

    faces = read_faces(real_fer2013 / "public_test.parquet")
    for row in range(0, len(faces), 40):
        folder = tmp_path / "faces" / faces.labels[int(faces.classes[row])]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(faces.images[row]).resize((224, 224)).save(folder / f"{row}.png")
    assert main(["audit", "--data", str(tmp_path / "faces"), "--out", str(tmp_path / "audit")]) == 0
    assert PHOTO_LINE not in capsys.readouterr().err
