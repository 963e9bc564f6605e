import io
import json

import numpy as np

from mien.cli import main
from mien.drawn import draw_photo
from mien.inference.output import write
from mien.inference.prediction import LANDMARKS, Prediction
from mien.labels import FER2013


def written(rows):
    write(iter(rows), FER2013, "coco", stream := io.StringIO())
    return json.loads(stream.getvalue())


def face(source, number, label, **options):
    probabilities = np.full(7, 0.05, np.float32)
    probabilities[FER2013.index(label)] = 0.7
    points = np.arange(10, dtype=np.float32).reshape(5, 2)
    return Prediction(source, FER2013, number, (10, 20, 40.5, 60), 0.9, probabilities, landmarks=points, angle=3.0, **options)


def test_every_image_has_an_entry_and_every_face_an_annotation():
    rows = [
        face("a.png", 0, "happy"),
        face("a.png", 1, "sad"),
        Prediction("b.png", FER2013),
        Prediction("c.png", FER2013, error="no"),
    ]
    rows += [face("clip.mp4", 0, "fear", frame=number, time=number / 5, track=2) for number in range(2)]
    found = written(rows)
    assert [(each["id"], each["file_name"]) for each in found["images"]] == [
        (1, "a.png"), (2, "b.png"), (3, "c.png"), (4, "clip.mp4"), (5, "clip.mp4"),
    ]  # fmt: skip
    assert found["images"][4] == {"id": 5, "file_name": "clip.mp4", "frame": 1, "time": 0.2}
    assert [(each["id"], each["image_id"]) for each in found["annotations"]] == [(1, 1), (2, 1), (3, 4), (4, 5)]
    names = {each["id"]: each["name"] for each in found["categories"]}
    assert [names[each["category_id"]] for each in found["annotations"]] == ["happy", "sad", "fear", "fear"]
    first, last = found["annotations"][0], found["annotations"][-1]
    assert (first["bbox"], first["area"], first["iscrowd"]) == ([10, 20, 30.5, 40], 1220, 0)
    assert (round(first["score"], 3), first["attributes"]["sad"], first["track_id"]) == (0.7, 0.05, None)
    assert (last["track_id"], last["num_keypoints"], last["keypoints"][:6]) == (2, 5, [0, 1, 2, 2, 3, 2])
    assert found["categories"][0]["keypoints"] == list(LANDMARKS)


def test_nothing_is_a_file_too():
    assert written([])["annotations"] == []


def test_the_file_replaces_an_earlier_one_and_no_other(tmp_path, capsys):
    from PIL import Image

    Image.fromarray(draw_photo(["happy", "sad"], seed=5)[0]).save(tmp_path / "photo.png")
    words = ["predict", str(tmp_path / "photo.png"), "--format", "coco", "--out", str(tmp_path / "faces.json")]
    assert [main(words), main(words)] == [0, 0]
    assert len(json.loads((tmp_path / "faces.json").read_text())["annotations"]) == 2
    (tmp_path / "faces.json").write_text('{"info": {"description": "my own"}}')
    assert main(words) == 2
    assert "is not a file of predictions" in capsys.readouterr().err
