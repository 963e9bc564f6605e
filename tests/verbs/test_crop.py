import csv
import errno
import zipfile

import numpy as np
import pytest
from PIL import Image

import mien
from mien.cli import main
from mien.drawn import draw_photo
from mien.images import read_image
from mien.verbs import crop as crop_verb

LABELS = ("happy", "sad")


def save(path, expressions, seed, width=320, height=240):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_photo(expressions, seed, width, height)[0]).save(path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos of one person in a folder per label; one shows three people, one nobody, and one is broken."""
    folder = tmp_path_factory.mktemp("photos") / "photos"
    for number, label in enumerate(LABELS):
        for count in range(3):
            save(folder / label / f"{count}.png", [label], 10 * number + count)
    save(folder / "happy" / "group.png", ["happy", "sad", "happy"], 5, 480)
    Image.new("RGB", (320, 240), "gray").save(folder / "sad" / "meadow.png")
    (folder / "sad" / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def cropped(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("cropped") / "faces"
    assert main(["crop", str(photos), "--out", str(out)]) == 1  # one photo is broken
    return out


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_the_cropped_faces_are_what_predict_classifies(photos, cropped):
    found = {row.source: row for row in mien.predict(photos) if row.face == 0}
    for row in table(cropped / "manifest.csv"):
        photo = found[str(photos / row["photo"])]
        (face,) = mien.predict(cropped / row["path"], faces=True)
        assert np.array_equal(face.probabilities, photo.probabilities)
        assert [float(row[edge]) for edge in ("x1", "y1", "x2", "y2")] == [round(edge, 1) for edge in photo.box]
        assert float(row["score"]) == round(photo.score, 4)


def test_a_face_lies_in_the_folder_of_its_label_and_every_photo_has_a_row(photos, cropped):
    assert files(cropped) == [*(f"happy/{name}.png" for name in (0, 1, 2, "group")), *(f"sad/{n}.png" for n in range(3))]
    rows = {row["photo"]: row for row in table(cropped / "photos.csv")}
    assert sorted(rows) == [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.png"))]
    remarks = {name: row["remark"] for name, row in rows.items() if row["remark"]}
    assert remarks == {
        "happy/group.png": "several faces were found",
        "sad/broken.png": "is not in a format that can be read",
        "sad/meadow.png": "no face was found",
    }
    assert [rows[name]["cropped"] for name in remarks] == ["1", "0", "0"]


def test_training_reads_the_folder_as_it_reads_the_photos_with_a_detector(photos, cropped, cache):
    faces = mien.read_faces(cropped)
    found = mien.read_faces(mien.DataSource(photos, detector="auto", skip_bad=True))
    assert faces.labels.names == found.labels.names == LABELS
    assert faces.origin.kind == "a manifest as CSV"
    assert np.array_equal(faces.images, found.images)
    assert np.array_equal(faces.targets, found.targets)
    assert [faces.id(row) for row in range(len(faces))] == [found.id(row) for row in range(len(found))]


def test_the_terminal_says_what_was_done(photos, tmp_path, capsys):
    assert main(["crop", str(photos), "--out", str(tmp_path / "faces")]) == 1
    told = capsys.readouterr()
    assert told.out == "9 photos: 7 faces cropped; no face in 1, several in 1, 1 could not be read\n"
    assert "reading" in told.err
    assert "one folder per class" in told.err
    assert "mien: sad/broken.png: is not in a format that can be read" in told.err
    assert str(tmp_path / "faces" / "index.html") in told.err


def test_the_page_shows_every_face_and_the_doubtful_ones_first(cropped):
    page = (cropped / "index.html").read_text(encoding="utf-8")
    assert page.count('<img src="data:image/jpeg;base64,') == 8
    happy, rest = page.partition("<h2>sad")[::2]
    assert "<h2>happy (4 of 4 shown)" in happy
    assert happy.index("group.png, 1 of 3 faces") < min(happy.index(f"{number}.png, score") for number in range(3))
    scores = [float(part[:4]) for part in happy.split(".png, score ")[1:]]
    assert scores == sorted(scores)
    assert rest.index("photos without a face (1 of 1 shown)") < rest.index(">sad/meadow.png: no face was found<")
    assert rest.index("photos that could not be read (1 of 1 shown)") < rest.index(
        "sad/broken.png: is not in a format that can be read"
    )
    assert "<p>9 photos: 7 faces cropped; no face in 1, several in 1, 1 could not be read.</p>" in page
    assert "http" not in page  # it opens offline


def test_the_same_command_gives_the_same_files(photos, cropped, tmp_path):
    mien.crop(photos, tmp_path / "faces", quiet=True)
    for path in sorted(cropped.rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "faces" / path.relative_to(cropped)).read_bytes()


@pytest.mark.parametrize(
    ("several", "names"),
    [("largest", ["a.png"]), ("all", ["a-0.png", "a-1.png", "a-2.png"]), ("skip", ["b.png"])],
)
def test_of_several_faces(several, names, tmp_path):
    save(tmp_path / "happy" / "a.png", ["happy", "sad", "happy"], 5, 480)
    if several == "skip":
        save(tmp_path / "happy" / "b.png", ["happy"], 1)
    crops = mien.crop(tmp_path / "happy" / "a.png" if several != "skip" else tmp_path, tmp_path.parent / several, several)
    assert [name.rpartition("/")[2] for name in files(crops.folder)] == names
    assert (crops.several, crops.faces) == (1, len(names))
    areas = [
        (float(row["x2"]) - float(row["x1"])) * (float(row["y2"]) - float(row["y1"]))
        for row in table(crops.folder / "manifest.csv")
    ]
    assert areas == sorted(areas, reverse=True)
    assert [int(row["face"]) for row in table(crops.folder / "manifest.csv")] == list(range(len(names)))


def test_splits_and_photos_of_one_name_stay_apart(tmp_path):
    for seed, name in enumerate(
        ("train/happy/x/a.png", "train/happy/a.jpg", "train/happy/A.png", "val/happy/a.png", "val/sad/a.png")
    ):
        save(tmp_path / "photos" / name, ["happy"], seed)
    mien.crop(tmp_path / "photos", tmp_path / "faces")
    found = table(tmp_path / "faces" / "manifest.csv")
    assert {row["photo"]: row["path"] for row in found} == {
        "train/happy/A.png": "train/happy/A.png",
        "train/happy/a.jpg": "train/happy/a-2.png",
        "train/happy/x/a.png": "train/happy/a-3.png",
        "val/happy/a.png": "validation/happy/a.png",
        "val/sad/a.png": "validation/sad/a.png",
    }
    assert len(files(tmp_path / "faces")) == 5
    assert [row["split"] for row in found] == ["train"] * 3 + ["validation"] * 2
    assert mien.read_faces(tmp_path / "faces").split_names == ("train", "validation")


def test_a_numbered_name_that_is_taken_is_not_given_again(tmp_path):
    for seed, name in enumerate(("a-2.png", "a.jpg", "a.png")):
        save(tmp_path / "photos" / "happy" / name, ["happy"], seed)
    mien.crop(tmp_path / "photos", tmp_path / "faces")
    assert files(tmp_path / "faces") == ["happy/a-2.png", "happy/a-3.png", "happy/a.png"]


def test_photos_without_labels_and_videos_are_unlabelled(tmp_path, write_drawn_video):
    save(tmp_path / "photos" / "one.png", ["happy"], 1)
    video = write_drawn_video(tmp_path / "clip.mp4")
    crops = mien.crop([tmp_path / "photos", video], tmp_path / "faces", every=2)
    assert files(crops.folder) == ["unlabelled/clip-0.png", "unlabelled/clip-2.png", "unlabelled/one.png"]
    rows = table(crops.folder / "manifest.csv")
    assert {row["label"] for row in rows} == {"unlabelled"}
    assert [row["frame"] for row in rows] == ["", "0", "2"]
    assert [row["frame"] for row in table(crops.folder / "photos.csv")] == ["", "0", "2"]


@pytest.fixture
def write_drawn_video():
    import av

    def write(path):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for _ in range(4):
                frame = av.VideoFrame.from_ndarray(draw_photo(["happy"], 3, 320, 240)[0], format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write


def test_shares_of_labels_and_splits_of_a_manifest_are_kept(tmp_path):
    for number in range(2):
        save(tmp_path / f"{number}.png", ["happy"], number)
    (tmp_path / "list.csv").write_text("path,happy,sad,split\n0.png,3,1,train\n1.png,1,1,test\nlost.png,1,0,train\n")
    crops = mien.crop(tmp_path / "list.csv", tmp_path / "faces")
    assert (crops.faces, crops.failed) == (2, 1)
    faces = mien.read_faces(tmp_path / "faces")
    assert faces.labels.names == LABELS
    assert faces.targets.tolist() == [[0.75, 0.25], [0.5, 0.5]]
    assert faces.split_names == ("train", "test")


def test_a_zip_is_read_like_its_folder(photos, cropped, tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in sorted(photos.rglob("*.png")):
            archive.write(path, path.relative_to(photos))
    mien.crop(tmp_path / "photos.zip", tmp_path / "faces")
    assert (tmp_path / "faces" / "manifest.csv").read_text() == (cropped / "manifest.csv").read_text()


@pytest.mark.parametrize("name", ["line\nbreak", "a, b; 'c' \"d\"", "été 笑", "con:trol*?<x>", "dots ..", "y" * 240])
def test_odd_names_are_written_and_read_again(name, tmp_path):
    save(tmp_path / "photos" / "happy" / f"{name}.png", ["happy"], 1)
    save(tmp_path / "photos" / "sad" / "b.png", ["sad"], 2)
    crops = mien.crop(tmp_path / "photos", tmp_path / "faces", several="all")
    assert crops.faces == 2
    assert len(mien.read_faces(crops.folder)) == 2
    assert not set('<>:"\\|?*\n') & set("".join(files(crops.folder)))
    assert "<x>" not in (crops.folder / "index.html").read_text(encoding="utf-8")


def test_size_and_margin(photos, tmp_path):
    photo = photos / "happy" / "0.png"
    plain, wide, small = (
        read_image(mien.crop(photo, tmp_path / name, **options).folder / "unlabelled" / "0.png")
        for name, options in (("plain", {}), ("wide", {"margin": 0.25}), ("small", {"size": 40}))
    )
    assert wide.shape[0] == pytest.approx(plain.shape[0] * 1.5, abs=1)
    assert small.shape == (40, 40, 3)


def test_gray_photos_stay_gray(photos, tmp_path):
    Image.open(photos / "happy" / "0.png").convert("L").save(tmp_path / "gray.png")
    mien.crop(tmp_path / "gray.png", tmp_path / "faces")
    assert read_image(tmp_path / "faces" / "unlabelled" / "gray.png").ndim == 2


def test_without_any_face_nothing_is_written(tmp_path, capsys):
    (tmp_path / "photos" / "sky").mkdir(parents=True)
    Image.new("RGB", (200, 200), "blue").save(tmp_path / "photos" / "sky" / "a.png")
    assert main(["crop", str(tmp_path / "photos"), "--out", str(tmp_path / "faces")]) == 2
    assert "There is no face to crop, and nothing was written. 1 photo: 0 faces" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("out", "sentence"),
    [("photos/faces", "lies in the input"), ("full", "is not an empty folder"), ("full/mine.txt", "is not an empty folder")],
)
def test_a_folder_that_would_do_harm_is_refused(out, sentence, tmp_path, capsys):
    save(tmp_path / "photos" / "happy" / "a.png", ["happy"], 1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert main(["crop", str(tmp_path / "photos"), "--out", str(tmp_path / out)]) == 2
    assert sentence in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--size", "0"], "size"),
        (["--margin", "9"], "margin"),
        (["--detector", "none", "--margin", "0.1"], "margin"),
        (["--min_score", "2"], "score"),
        (["--every", "0"], "every"),
        (["--several", "both"], "largest, all, skip"),
        (["--detector", "nothing"], "detector"),
    ],
)
def test_a_wrong_option_is_said_in_a_sentence(options, sentence, photos, tmp_path, capsys):
    assert main(["crop", str(photos), "--out", str(tmp_path / "faces"), *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "faces").exists()


def test_a_missing_folder_is_named(tmp_path, capsys):
    assert main(["crop", str(tmp_path / "photoss"), "--out", str(tmp_path / "faces")]) == 2
    assert "photoss" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing(photos, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(crop_verb.Image.Image, "save", full)
    assert main(["crop", str(photos), "--out", str(tmp_path / "faces")]) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [0, 40, 10_000], ids=["whole", "torn", "settings only"])
def test_an_interrupted_run_is_resumed(cut, photos, cropped, tmp_path, monkeypatch, capsys):
    words, crop_one, worked = ["crop", str(photos), "--out", str(tmp_path / "faces")], crop_verb._crop, []

    def interrupted(photo, **options):
        worked.append(photo[0].id)
        if len(worked) == 6 and "resumed" not in worked:
            raise KeyboardInterrupt
        return crop_one(photo, **options)

    monkeypatch.setattr(crop_verb, "_crop", interrupted)
    with pytest.raises(KeyboardInterrupt):
        crop_verb.crop([str(photos)], tmp_path / "faces")
    assert [path.name for path in tmp_path.iterdir()] == ["faces.part"]  # nothing that looks whole
    log = tmp_path / "faces.part" / crop_verb.LOG
    done = len(log.read_text().splitlines()) - 1
    assert done > 0
    log.write_bytes(log.read_bytes()[: max(-cut, 60 - log.stat().st_size) or None])
    assert main(words) == 2
    assert "add --resume, or remove that folder" in capsys.readouterr().err

    worked[:] = ["resumed"]
    assert main([*words, "--resume"]) == 1
    assert len(worked) - 1 == {0: 9 - done, 40: 10 - done}.get(cut, 9)
    assert capsys.readouterr().out == "9 photos: 7 faces cropped; no face in 1, several in 1, 1 could not be read\n"
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]
    paths = [path.relative_to(cropped) for path in sorted(cropped.rglob("*"))]
    assert paths == [path.relative_to(tmp_path / "faces") for path in sorted((tmp_path / "faces").rglob("*"))]
    for path in paths:
        assert (cropped / path).is_dir() or (cropped / path).read_bytes() == (tmp_path / "faces" / path).read_bytes()

    assert main([*words, "--resume"]) == 1
    told = capsys.readouterr()
    assert "is whole, there is nothing to resume" in told.err
    assert told.out.startswith("9 photos: 7 faces cropped;")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--margin", "0.1"], "has margin 0.0, not 0.1; use the same options, or remove its folder"),
        (["--several", "all"], "has several largest, not all"),
        ("rename", "has 'happy/0.png' where there is 'happy/1.png' now, or remove its folder"),
        ("damage", "is not the log of an unfinished run, or damaged, or remove its folder"),
    ],
)
def test_a_run_of_other_options_or_photos_is_not_resumed(change, sentence, tmp_path, monkeypatch, capsys):
    for number in range(2):
        save(tmp_path / "photos" / "happy" / f"{number}.png", ["happy"], number)
    words = ["crop", str(tmp_path / "photos"), "--out", str(tmp_path / "faces"), "--resume"]
    monkeypatch.setattr(crop_verb, "_write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        crop_verb.crop([str(tmp_path / "photos")], tmp_path / "faces")
    log = tmp_path / "faces.part" / crop_verb.LOG
    if change == "rename":
        (tmp_path / "photos" / "happy" / "0.png").unlink()
    if change == "damage":
        log.write_text("{}\n[]\n")
    before = log.read_bytes()
    assert main([*words, *(change if isinstance(change, list) else [])]) == 2
    assert sentence in capsys.readouterr().err
    assert log.read_bytes() == before


def test_the_page_says_what_became_of_photos_with_several_faces(photos, tmp_path):
    names = [str(photos / "happy" / "group.png"), str(photos / "happy" / "0.png")]
    for several, captions in (
        ("largest", ["group.png, 1 of 3 faces (the largest), score"]),
        ("all", [f"group.png, {number} of 3 faces, score" for number in (1, 2, 3)]),
        (
            "skip",
            [
                "<h2>photos with several faces, of which none was cropped (1 of 1 shown)</h2>",
                "happy/group.png: several faces were found<",
            ],
        ),
    ):
        page = (mien.crop(names, tmp_path / several, several=several).folder / "index.html").read_text(encoding="utf-8")
        assert all(caption in page for caption in captions)
        assert f"was cropped (--several {several})" in page.replace("were", "was")


def test_captions_tell_photos_of_one_name_and_frames_apart(tmp_path, write_drawn_video):
    for seed, person in enumerate(("ann", "bob")):
        save(tmp_path / "photos" / "happy" / person / "1.png", ["happy"], seed)
    page = (mien.crop(tmp_path / "photos", tmp_path / "faces").folder / "index.html").read_text(encoding="utf-8")
    assert ">happy/ann/1.png, score " in page
    assert ">happy/bob/1.png, score " in page
    video = write_drawn_video(tmp_path / "clip.mp4")
    page = (mien.crop(video, tmp_path / "frames", every=2).folder / "index.html").read_text(encoding="utf-8")
    assert "/clip.mp4, frame 2, score " in page


def test_the_page_of_many_faces_says_how_many_are_not_shown(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(crop_verb, "SHOWN", 2)
    page = (mien.crop(photos, tmp_path / "faces").folder / "index.html").read_text(encoding="utf-8")
    assert "<h2>happy (2 of 4 shown)</h2>" in page


@pytest.mark.parametrize("width", [320, 400])
def test_the_page_fits_a_phone(cropped, open_page, width):
    page = open_page(cropped / "index.html", width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("[...document.querySelectorAll('figcaption')].every(each => each.scrollWidth <= each.clientWidth)")
    assert page.evaluate("Math.max(...[...document.images].map(each => each.getBoundingClientRect().right))") <= width
