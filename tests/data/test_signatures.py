import numpy as np
import pytest

from mien.data import copies as module
from mien.data.copies import ALIKE, BYTES, EXACT, UNKNOWN, known_faces, pixel_digests, same_rows, signatures
from mien.drawn import draw_faces


@pytest.fixture(scope="module")
def faces():
    """Forty drawn people; the first thirty are known, the others strangers."""
    return np.asarray(draw_faces(6, size=48, seed=4).images)[:40]


@pytest.fixture(scope="module")
def known(faces):
    return signatures(faces[:30])


def test_a_signature_has_twelve_bytes(known):
    assert (known.shape, known.dtype, BYTES) == ((30, 12), np.uint8, 12)


def test_the_very_face_is_an_exact_copy_and_a_stranger_is_none(faces, known):
    assert known_faces(faces, known).tolist() == [EXACT] * 30 + [UNKNOWN] * 10


@pytest.mark.parametrize(
    "change",
    [
        lambda face: face * 0.6 + 20,
        lambda face: face * 0.8 + 40,
        lambda face: face[:, :, ::-1],
        lambda face: np.roll(face, 1, axis=2),
        lambda face: np.roll(face, (-1, 1), axis=(1, 2)),
        lambda face: face + np.random.default_rng(0).normal(0, 3, face.shape),
    ],
    ids=["darker", "brighter", "mirrored", "a pixel aside", "a pixel up and aside", "noisy"],
)
def test_the_same_picture_with_other_pixels_is_alike(change, faces, known):
    changed = np.clip(change(faces.astype(np.float32)), 0, 255).astype(np.uint8)
    found = known_faces(changed, known)
    assert (found[:30] == ALIKE).mean() >= 0.9
    assert EXACT not in found
    assert (found[30:] == UNKNOWN).all()


def test_a_picture_cut_out_two_pixels_aside_is_mostly_found(faces, known):
    found = known_faces(np.roll(faces, 2, axis=2), known)
    assert (found[:30] == ALIKE).mean() >= 0.7
    assert (found[30:] == UNKNOWN).all()


def test_a_compressed_picture_is_alike(faces, known):
    import io

    from PIL import Image

    def compressed(face):
        file = io.BytesIO()
        Image.fromarray(face).save(file, "jpeg", quality=60)
        return np.asarray(Image.open(file))

    assert (known_faces(np.array([compressed(face) for face in faces[:30]]), known) == ALIKE).mean() >= 0.9


def test_agreement_is_what_counting_every_wave_by_hand_gives(faces):
    # a cosine transform by scipy, of the middle 44 pixels; signs of the one face, weights of the other
    from scipy.fft import dctn

    def waves(face):
        transformed = dctn(face[2:46, 2:46].astype(np.float64), norm="ortho")
        numbers = sorted((np.hypot(i, j), (i, j)) for i in range(44) for j in range(44) if np.hypot(i, j) >= 3)[:80]
        return np.array([transformed[place] * radius for radius, place in numbers])

    own, other = waves(faces[1]), waves(faces[0])
    limit = 2 * np.median(np.abs(own))
    weights = np.clip(own, -limit, limit)
    expected = (weights * np.sign(other)).sum() / np.abs(weights).sum()
    signs = np.unpackbits(signatures(faces[:1])[:, :-2], axis=1).astype(np.float32) * 2 - 1
    assert module._weights(faces[1:2], 0, 0)[0] @ signs[0] == pytest.approx(expected, abs=1e-4)


def test_colour_and_other_sizes_are_brought_to_gray_at_48_pixels(faces, known):
    colour = np.repeat(faces[..., None], 3, axis=3)
    assert known_faces(colour, known).tolist() == [EXACT] * 30 + [UNKNOWN] * 10
    larger = faces.repeat(2, axis=1).repeat(2, axis=2)
    assert (known_faces(larger, signatures(larger[:30])) == EXACT).tolist() == [True] * 30 + [False] * 10
    assert (known_faces(larger, known)[:30] != UNKNOWN).mean() >= 0.9


def test_blank_faces_are_copies_only_of_the_same_gray():
    black, gray = np.zeros((1, 48, 48), dtype=np.uint8), np.full((1, 48, 48), 90, dtype=np.uint8)
    assert known_faces(np.concatenate([black, gray]), signatures(black)).tolist() == [EXACT, UNKNOWN]


def test_a_wave_of_another_sign_leaves_an_exact_copy_exact(faces, known):
    weakest = np.abs(module._weights(faces[:1], 0, 0)[0]).argmin()
    other = known.copy()
    other[0, weakest // 8] ^= 128 >> (weakest % 8)
    assert known_faces(faces[:1], other).tolist() == [EXACT]


def test_chunks_change_nothing(faces, known, monkeypatch):
    changed = faces[:, :, ::-1]
    whole = known_faces(changed, known)
    monkeypatch.setattr(module, "CHUNK", 7)
    assert known_faces(changed, known).tolist() == whole.tolist()


def test_nothing_known_is_no_copy(faces, known):
    assert known_faces(faces, known[:0]).tolist() == [UNKNOWN] * 40
    assert known_faces(faces[:0], known).tolist() == []


def test_digests_tell_pixels_apart(faces):
    digests = pixel_digests(faces, 5)
    assert digests.shape == (40, 5)
    assert same_rows(digests, digests[:30]).tolist() == [True] * 30 + [False] * 10
    assert pixel_digests(faces[:0], 5).shape == (0, 5)
