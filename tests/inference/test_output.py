import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from mien.errors import MienError
from mien.inference.output import WRITERS, Tally, choose_format, write
from mien.inference.prediction import Prediction
from mien.labels import FER2013, LabelSet


def face(source="photos/a.jpg", number=0, likeliest=3):
    probabilities = np.full(7, 0.05, np.float32)
    probabilities[likeliest] = 0.7
    return Prediction(source, FER2013, number, (1.25, 2, 30.04, 40), 0.875, probabilities)


ROWS = [
    face(),
    face(number=1, likeliest=5),
    Prediction("a file, with\na break.png", FER2013, note="the first of several frames"),
    Prediction("bytes \udcff.png", FER2013, error="The image 'x' is empty (0 bytes)."),
    face("顔/лицо.png", likeliest=6),
]


def written(rows, form, labels=FER2013):
    stream = io.StringIO()
    tally = write(rows, labels, form, stream)
    return stream.getvalue(), tally


def test_json_is_one_list_of_what_the_rows_say():
    text, _ = written(ROWS, "json")
    rows = json.loads(text)
    assert rows[0] == ROWS[0].to_dict()
    assert rows[0]["box"] == [1.2, 2, 30.0, 40]
    assert [row["source"] for row in rows] == [*(row.source for row in ROWS[:3]), r"bytes \udcff.png", "顔/лицо.png"]
    assert "顔" in text
    assert json.loads(written([], "json")[0]) == []


def test_json_lines_are_an_object_a_line():
    text, _ = written(ROWS, "jsonl")
    assert [json.loads(line) for line in text.splitlines()] == json.loads(written(ROWS, "json")[0])


def test_csv_has_a_column_for_each_label_and_keeps_breaks_in_names():
    rows = list(csv.DictReader(io.StringIO(written(ROWS, "csv")[0], newline="")))
    assert list(rows[0])[:6] == ["source", "frame", "time", "face", "track", "x1"]
    assert list(rows[0])[10:-11] == ["label", "confidence", "unsure", *FER2013, "no_face", "error", "note"]
    assert list(rows[0])[-11:-7] == ["left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y"]
    assert list(rows[0])[-7:] == ["nose_x", "nose_y", "left_mouth_x", "left_mouth_y", "right_mouth_x", "right_mouth_y", "angle"]
    assert float(rows[0]["happy"]) == pytest.approx(0.7)
    assert (rows[0]["x1"], rows[0]["y2"], rows[0]["label"]) == ("1.2", "40", "happy")
    assert (rows[2]["source"], rows[2]["no_face"], rows[2]["face"]) == ("a file, with\na break.png", "True", "")
    assert rows[3]["error"].endswith("(0 bytes).")
    assert len(rows) == 5


def test_the_csv_header_stands_above_an_error_too():
    text, _ = written(ROWS[3:4], "csv")
    assert text.splitlines()[0].startswith("source,frame,time,face,track,x1,y1,x2,y2,score,label,confidence,unsure,angry,")


def test_the_table_is_aligned_and_has_a_line_a_row():
    text, _ = written(ROWS, "table")
    lines = text.splitlines()
    assert len(lines) == 6
    assert lines[0].split() == ["source", "face", "box", "label", "confidence", *FER2013]
    for name, value in zip(("happy", "neutral"), ("0.70", "0.05"), strict=True):
        end = lines[0].index(name) + len(name)
        assert lines[1][end - 4 : end] == value
    assert lines[1].split()[:7] == ["photos/a.jpg", "0", "1", "2", "30", "40", "happy"]
    assert lines[3].startswith(r"a file, with\na break.png"[-23:].rjust(24, "…"))
    assert lines[3].endswith("no face  (the first of several frames)")
    assert lines[4].endswith("error: The image 'x' is empty (0 bytes).")
    # 顔 takes two columns of a terminal, so its line is one character shorter up to the same place.
    assert lines[5].index("   0  1 2 30 40") == lines[1].index("   0  1 2 30 40") - 1
    assert max(len(line) for line in lines) < 130


def test_a_long_name_is_shown_by_its_end():
    text, _ = written([face("a/rather/long/path/to/some/photo 17.jpg"), face("an unusually long name of a photo.jpg")], "table")
    assert text.splitlines()[1].startswith("…/to/some/photo 17.jpg       0")
    assert text.splitlines()[2].startswith("…ong name of a photo.jpg     0")


def test_labels_wider_than_their_numbers_keep_their_columns():
    labels = LabelSet(("no", "contemptuously amused"))
    row = Prediction("a.jpg", labels, 0, (0, 0, 9, 9), None, np.array([0.25, 0.75], np.float32))
    header, line = written([row], "table", labels)[0].splitlines()
    assert len(header) == len(line)
    assert line.endswith("  0.25" + "0.75".rjust(23))


@pytest.mark.parametrize("form", sorted(set(WRITERS) - {"parquet"}))
def test_each_row_is_written_before_the_next_is_asked_for(form):
    stream, seen = io.StringIO(), []

    def rows():
        for number in range(3):
            seen.append(stream.getvalue().count("photo"))
            yield face(f"photo{number}.jpg")

    write(rows(), FER2013, form, stream)
    assert seen == [0, 1, 2]


def test_the_tally_counts_images_faces_and_failures():
    _, tally = written(ROWS, "jsonl")
    assert tally == Tally(images=4, faces=3, without_face=1, failed=1)
    assert str(tally) == "4 images: 3 faces, 1 without a face, 1 failed"
    assert str(written(ROWS[:1], "jsonl")[1]) == "1 image: 1 face"
    assert str(written([], "jsonl")[1]) == "0 images: 0 faces"


def test_the_tally_counts_the_frames_of_videos_apart():
    frames = [replace(face("clip.mp4", number), frame=frame) for frame in (0, 1) for number in (0, 1)]
    tally = written([face("a.jpg"), *frames, Prediction("clip.mp4", FER2013, frame=2)], "jsonl")[1]
    assert str(tally) == "1 image and 3 frames: 5 faces, 1 without a face"


def test_the_table_marks_what_is_unsure_and_says_when_in_a_video():
    probabilities = np.full(7, 0.1, np.float32)
    probabilities[2] = 0.4
    rows = [
        Prediction(
            "a/long/way/to/some/clip.mp4", FER2013, 0, (0, 0, 9, 9), 1.0, probabilities, frame=50, time=2.004, threshold=bar
        )
        for bar in (0.3, 0.5)
    ]
    text, tally = written(rows, "table")
    sure, unsure = text.splitlines()[1:]
    assert sure.startswith("…/to/some/clip.mp4 2.00s     0  0 0 9 9")
    assert (sure.split()[8], unsure.split()[8]) == ("0.40", "0.40?")
    assert sure.index("0.10") == unsure.index("0.10")
    assert str(tally) == "2 frames: 2 faces (1 unsure)"


def test_the_table_names_the_tracks_of_a_video_in_place_of_the_faces():
    rows = [replace(face("clip.mp4"), frame=3, time=0.1, track=12), face("a.jpg", number=12)]
    tracked, plain = written(rows, "table")[0].splitlines()[1:]
    assert tracked.startswith("clip.mp4 0.10s             #12  1 2 30 40")
    assert plain.startswith("a.jpg                       12  1 2 30 40")


def test_an_unknown_format_is_named_with_those_there_are():
    with pytest.raises(MienError, match="table, json, jsonl, csv"):
        write([], FER2013, "yaml", io.StringIO())
    with pytest.raises(MienError, match="table, json, jsonl, csv, parquet"):
        choose_format("yaml", None)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.mark.parametrize(("columns", "shown"), [(80, False), (200, True)])
def test_a_narrow_terminal_gets_rows_without_the_probabilities(columns, shown, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal = Terminal()
    write(ROWS[:2], FER2013, "table", terminal)
    assert all(len(line) <= columns for line in terminal.getvalue().splitlines())
    assert ("surprise     neutral" in terminal.getvalue() or "surprise  neutral" in terminal.getvalue()) == shown
    assert "\x1b" not in terminal.getvalue()


def test_labels_and_names_cannot_break_the_table_or_turn_it_around():
    labels = LabelSet(("hap\npy", "\x1b[31mred", "\u202eturned"))
    row = Prediction("a\r\x1b[2J\u202e.jpg", labels, 0, (0, 0, 9, 9), None, np.array([0.5, 0.25, 0.25], np.float32))
    text = written([row], "table", labels)[0]
    assert len(text.splitlines()) == 2
    assert text.replace("\n", "").isprintable()
    assert r"hap\npy" in text


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp1252", "latin-1"])
def test_the_table_stays_aligned_where_the_console_lacks_letters(encoding):
    labels = LabelSet(("开心", "né", "😀"))
    names = ["a.jpg", "a/rather/long/path/to/some/фото 17.jpg", "顔.png"]
    rows = [Prediction(name, labels, 0, (0, 0, 9, 9), None, np.array([0.5, 0.25, 0.25], np.float32)) for name in names]
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding)
    write(rows, labels, "table", stream)
    stream.flush()
    lines = raw.getvalue().decode(encoding).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert r"\u5f00\u5fc3" in lines[1]


def test_marks_and_joiners_take_no_column():
    labels = LabelSet(("a", "b"))
    rows = [
        Prediction(name, labels, 0, (0, 0, 9, 9), None, np.array([0.5, 0.5], np.float32))
        for name in ("e.jpg", "e\u0301\u200d.jpg")
    ]
    plain, marked = written(rows, "table", labels)[0].splitlines()[1:]
    assert len(marked) == len(plain) + 2
