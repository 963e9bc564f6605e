import numpy as np
import pytest
from PIL import Image

import mien
from mien.cli import main
from mien.drawn import draw_face
from mien.inference.prediction import LANDMARKS


def scene(seed, degrees):
    """A drawn face in the middle of a photo, turned clockwise."""
    image = np.full((640, 640, 3), 128, np.uint8)
    image[170:470, 170:470] = draw_face("happy", seed=seed, size=300)
    return Image.fromarray(image).rotate(-degrees, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))


@pytest.mark.parametrize("degrees", [-60, -45, -30, -15, 15, 30, 45, 60, 90, -90, 180])
def test_the_angle_and_the_landmarks_are_those_of_the_turned_face(degrees):
    (upright,), (turned,) = mien.predict(scene(2, 0)), mien.predict(scene(2, degrees))
    assert abs(upright.angle) < 8
    assert abs((turned.angle - upright.angle - degrees + 180) % 360 - 180) < 12
    assert -180 < turned.angle <= 180
    assert (turned.landmarks.shape, turned.landmarks.dtype) == ((5, 2), np.float32)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    expected = (upright.landmarks - 320) @ np.array([[cosine, sine], [-sine, cosine]]) + 320
    assert np.abs(turned.landmarks - expected).max() < 30  # of a face of 200 pixels; a swapped pair would be off by 80


def test_the_left_eye_is_the_one_on_the_left_of_an_upright_picture():
    (row,) = mien.predict(scene(2, 0))
    points = row.to_dict()["landmarks"]
    assert tuple(points) == LANDMARKS
    assert points["left_eye"][0] < points["nose"][0] < points["right_eye"][0]
    assert points["left_mouth"][0] < points["right_mouth"][0]
    assert points["left_eye"][1] < points["nose"][1] < points["left_mouth"][1]


def test_cropped_faces_have_neither():
    (row,) = mien.predict(scene(2, 0), faces=True)
    assert row.landmarks is None
    assert row.angle is None
    assert not {"landmarks", "angle"} & set(row.to_dict())


def test_a_resumed_run_keeps_the_landmarks_and_continues_a_log_without_them(tmp_path):
    import json

    for seed in (0, 2):
        scene(seed, 0).save(tmp_path / f"{seed}.png")
    out, log = tmp_path / "rows.jsonl", tmp_path / "rows.jsonl.part"
    words = ["predict", *(str(tmp_path / f"{seed}.png") for seed in (0, 2)), "--out", str(out)]
    assert main(words) == 0
    whole = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(len(row["landmarks"]) == 5 for row in whole)
    settings = {"model": "mien-s", "detector": "auto"}
    header = {"labels": mien.Classifier("mien-s").labels.names, "settings": settings, "names": words[1:3]}
    old = [{key: value for key, value in row.items() if key not in ("landmarks", "angle")} for row in whole]
    log.write_text("".join(f"{json.dumps(line)}\n" for line in (header, *old)))
    out.unlink()
    status = main([*words, "--resume"])
    assert status == 2 or [("angle" in json.loads(line)) for line in out.read_text().splitlines()] == [False, True]
