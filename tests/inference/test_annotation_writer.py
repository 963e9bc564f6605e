import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.errors import MienError
from mien.inference import drawing
from mien.inference.drawing import AnnotationWriter
from mien.inference.prediction import Prediction
from mien.inference.video import video_frames
from mien.labels import FER2013

IMAGE = np.full((90, 90), 100, np.uint8)


def frame(source, number, face=True):
    probabilities = np.eye(7, dtype=np.float32)[3]
    told = ({"face": 0, "box": (10, 30, 60, 80), "probabilities": probabilities, "track": 0}) if face else {}
    return [Prediction(source, FER2013, frame=number, time=number / 10, **told)]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def frame_count(path):
    return len([read for read in video_frames(str(path)) if not read.error])


def test_pictures_bear_the_names_of_their_images_and_none_is_overwritten(tmp_path):
    drawn = AnnotationWriter(tmp_path / "new" / "drawn")
    wanted = {
        "one/a.jpg": "a.jpg",
        "two/a.jpg": "a-2.jpg",
        "two/A.JPG": "A-3.jpg",
        "b.webp": "b.png",
        "c.tar.png": "c.tar.png",
        "image 0": "image 0.png",
    }
    for number, source in enumerate(wanted, start=1):
        drawn.add(IMAGE, [Prediction(source, FER2013)])
        assert names(tmp_path / "new" / "drawn") == sorted(list(wanted.values())[:number])
    for path in (tmp_path / "new" / "drawn").iterdir():
        with Image.open(path) as picture:
            assert picture.format == ("JPEG" if path.suffix == ".jpg" else "PNG")


def test_a_folder_that_cannot_be_made_or_written_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MienError, match=r"cannot be made.*choose another --draw"):
        AnnotationWriter(tmp_path / "file" / "drawn")
    drawn = AnnotationWriter(tmp_path / "drawn")
    (tmp_path / "drawn").rmdir()
    with pytest.raises(MienError, match=r"cannot be saved.*choose another --draw"):
        drawn.add(IMAGE, [Prediction("a.png", FER2013)])
    with pytest.raises(MienError, match=r"video .*clip.* cannot be saved.*choose another --draw"):
        drawn.add(IMAGE, frame("clip.mp4", 0), rate=10)


def test_what_lies_there_is_kept_unless_mien_drew_it(tmp_path):
    for name in ("a.png", "b.jpg"):
        Image.fromarray(IMAGE).save(tmp_path / name)
    (tmp_path / "c.png").write_text("no picture")
    (tmp_path / "d.png").symlink_to(tmp_path / "gone")
    before = {name: (tmp_path / name).read_bytes() for name in ("a.png", "b.jpg", "c.png")}
    for _ in range(2):  # the second run draws the first one's pictures anew
        drawn = AnnotationWriter(tmp_path)
        for name in ("x/a.png", "x/b.jpg", "x/c.png", "x/d.png"):
            drawn.add(IMAGE, [Prediction(name, FER2013)])
    wanted = ["a-2.png", "a.png", "b-2.jpg", "b.jpg", "c-2.png", "c.png", "d-2.png", "d.png"]
    assert names(tmp_path) == wanted
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    AnnotationWriter(tmp_path).add(IMAGE, [Prediction(str(tmp_path / "a-2.png"), FER2013)])  # drawn, but now an input
    assert (tmp_path / "a-2-2.png").is_file()


def test_videos_are_drawn_anew_and_keep_what_mien_did_not_draw(tmp_path):
    (tmp_path / "b.mp4").write_bytes(b"somebody's video")
    (tmp_path / "c.tracks.png").write_bytes(b"somebody's plot")
    for _ in range(2):
        drawn = AnnotationWriter(tmp_path)
        for source in ("x/a.mp4", "y/a.mov", "x/b.mp4", "x/c.mp4"):
            for number in range(2):
                drawn.add(IMAGE, frame(source, number), rate=10)
        drawn.close()
    videos = ["a-2", "a", "b-2", "c-2"]
    files = [f"{name}{suffix}" for name in videos for suffix in (".mp4", ".tracks.png")]
    assert names(tmp_path) == sorted([*files, "b.mp4", "c.tracks.png"])
    assert (tmp_path / "b.mp4").read_bytes() == b"somebody's video"
    assert (tmp_path / "c.tracks.png").read_bytes() == b"somebody's plot"
    assert [frame_count(tmp_path / f"{name}.mp4") for name in videos] == [2] * 4


def test_a_video_is_there_as_soon_as_something_else_follows(tmp_path):
    drawn = AnnotationWriter(tmp_path)
    for number in range(3):
        drawn.add(IMAGE, frame("clip.mp4", number), rate=10)
        assert not (tmp_path / "clip.mp4").exists()
    drawn.add(IMAGE, [Prediction("a.png", FER2013)])
    assert names(tmp_path) == ["a.png", "clip.mp4", "clip.tracks.png"]
    for number in range(2):
        drawn.add(IMAGE, frame("clip.mp4", number), rate=10)  # named twice: from its first frame again
    drawn.close()
    drawn.close()
    assert frame_count(tmp_path / "clip.mp4") == 3
    assert frame_count(tmp_path / "clip-2.mp4") == 2


def test_a_frame_that_could_not_be_read_shows_the_one_before_and_the_broken_end_nothing(tmp_path):
    drawn = AnnotationWriter(tmp_path)
    error = [Prediction("clip.mp4", FER2013, error="It is damaged.", frame=1)]
    drawn.add(None, error, rate=None)
    for number in (0, 2):
        drawn.add(IMAGE, frame("clip.mp4", number, face=False), rate=10)
        drawn.add(None, [Prediction("clip.mp4", FER2013, error="It is damaged.", frame=number + 1)])
    drawn.close()
    assert names(tmp_path) == ["clip.mp4"]  # nobody to plot
    assert [read.time for read in video_frames(str(tmp_path / "clip.mp4"))] == pytest.approx([0, 0.2], abs=0.001)


def test_the_text_of_a_video_does_not_tremble_with_its_faces(tmp_path, monkeypatch):
    sizes = []
    draw = drawing.annotate
    monkeypatch.setattr(drawing, "annotate", lambda *words, **more: sizes.append(more["text_size"]) or draw(*words, **more))
    drawn = AnnotationWriter(tmp_path)
    for number in range(20):
        (row,) = frame("clip.mp4", number)
        drawn.add(np.full((600, 600), 100, np.uint8), [replace(row, box=(0, 0, 96 + 24 * (number % 2), 100))], rate=10)
    drawn.close()
    assert sizes[0] == 16
    assert max(np.abs(np.diff(sizes))) < 0.5
    assert 16 < sizes[-1] < 20


def test_ten_thousand_images_of_one_name_are_named_in_no_time(tmp_path):
    drawn = AnnotationWriter(tmp_path)
    start = time.perf_counter()
    stems = [drawn._stem(tmp_path / "of" / "camera.png", (".png",)) for _ in range(10_000)]
    assert time.perf_counter() - start < 5
    assert (stems[0], stems[1], stems[-1]) == ("camera", "camera-2", "camera-10000")


def test_the_folders_below_a_named_one_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    roots = [Path("photos"), Path("else")]
    drawn = AnnotationWriter(Path("drawn"), roots=roots)
    for name in ("photos/a.png", "photos/june/a.png", "else/june/a.png", "alone/c.png", "d.png"):
        drawn.add(IMAGE, [Prediction(name, FER2013)])
    drawn.close()
    found = sorted(path.relative_to("drawn").as_posix() for path in Path("drawn").rglob("*.png"))
    assert found == ["a.png", "c.png", "d.png", "june/a-2.png", "june/a.png"]


def test_a_video_in_a_folder_and_its_plot_lie_side_by_side(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = AnnotationWriter(Path("drawn"), roots=[Path("clips")])
    for number in range(3):
        shown = {"frame": number, "time": number / 5, "track": 0}
        row = Prediction("clips/may/x.v2.mp4", FER2013, 0, (4, 4, 30, 30), 0.9, np.full(7, 1 / 7, np.float32), **shown)
        drawn.add(IMAGE, [row], rate=5.0)
    drawn.close()
    assert {path.name for path in Path("drawn/may").iterdir()} == {"x.v2.mp4", "x.v2.tracks.png"}


def test_predict_keeps_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos/june").mkdir(parents=True)
    for name in ("photos/a.png", "photos/june/a.png"):
        Image.fromarray(IMAGE).save(name)
    assert main(["predict", "photos", "--draw", "drawn", "--quiet", "--format", "csv"]) == 0
    assert sorted(path.as_posix() for path in Path("drawn").rglob("*.png")) == ["drawn/a.png", "drawn/june/a.png"]
