import numpy as np
import pytest

from mien.data.worse_photos import CHANGES, worse_copies
from mien.drawn import draw_faces

FACES = draw_faces(3, size=48).images


def test_there_are_eighteen_changes():
    assert len(CHANGES) == 18


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_changes_faces_of_any_kind_and_keeps_most_of_them(change):
    worse = worse_copies(FACES, 0, change)
    assert (worse.dtype, worse.shape) == (FACES.dtype, FACES.shape)
    assert (worse != FACES).any(axis=(1, 2)).all()
    alike = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(FACES, worse, strict=True)]
    assert np.mean(alike) > 0.3
    colour = np.repeat(FACES[:4, ..., None], 3, axis=3)
    assert worse_copies(colour, 0, change).shape == colour.shape
    for side in (1, 2, 13):
        assert worse_copies(FACES[:2, :side, :side], 0, change).shape == (2, side, side)


def test_a_seed_gives_the_same_copies_and_another_one_others():
    assert (worse_copies(FACES, 3) == worse_copies(FACES, 3)).all()
    assert (worse_copies(FACES, 3) != worse_copies(FACES, 4)).any()


def test_every_change_is_made_about_equally_often(monkeypatch):
    made = []
    monkeypatch.setattr("mien.data.worse_photos.worsen", lambda face, change, random: made.append(change) or face)
    worse_copies(np.zeros((180, 8, 8), np.uint8))
    assert {made.count(change) for change in CHANGES} == {10}
    made.clear()
    worse_copies(np.zeros((512, 8, 8), np.uint8))
    assert max(made.count(change) for change in CHANGES) == 29
    made.clear()
    worse_copies(np.zeros((5, 8, 8), np.uint8))
    assert len(set(made)) == 5


def test_light_is_multiplied_and_added():
    face = np.full((1, 48, 48), 90, np.uint8)
    assert abs(int(worse_copies(face, 0, "dark (a third)")[0, 5, 5]) - 30) <= 1
    assert worse_copies(face, 0, "overexposed (1.5 times, + 40)")[0, 5, 5] == 175
    left, right = sorted(worse_copies(face, 0, "lit from the side")[0, 20, [0, -1]].tolist())
    assert (left, right) == (27, 117)


def test_a_shifted_face_moves_by_a_tenth_and_repeats_its_border():
    face = np.zeros((1, 40, 40), np.uint8)
    face[0, 18:22, 18:22] = 200
    face[0, :, 0] = face[0, :, -1] = 100
    moved = worse_copies(face, 0, "shifted by 10%")[0]
    rows, columns = np.nonzero(moved == 200)
    assert {abs(rows.mean() - 19.5), abs(columns.mean() - 19.5)} == {4}
    assert (moved == 100).sum() >= 5 * 36  # the border and the four columns beyond it
