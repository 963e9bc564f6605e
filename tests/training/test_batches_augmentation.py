import pytest
import torch

from mien.training.batches import mixed, place, worsen
from mien.training.recipe import Augmentation

NOTHING = Augmentation(flip=0)
EACH = {
    "rotation": 20,
    "translation": 0.2,
    "scale": 0.3,
    "brightness": 0.3,
    "contrast": 0.5,
    "noise": 0.1,
    "degradation": 1,
    "blur": 1,
    "erasing": 1,
}


def augment(faces, how, crop=None):
    return worsen(place(faces, how, crop), how)


@pytest.fixture
def ramp() -> torch.Tensor:
    """Faces brighter to the right and downwards: (64, 1, 24, 24)."""
    line = torch.linspace(0, 0.6, 24)
    return (line[None, :] + 0.4 * line[:, None]).expand(64, 1, 24, 24).clone()


def test_nothing_asked_for_changes_nothing(ramp):
    assert torch.equal(augment(ramp, NOTHING), ramp)


@pytest.mark.parametrize(("name", "value"), EACH.items())
def test_every_change_differs_from_face_to_face_and_keeps_the_shape(ramp, name, value):
    torch.manual_seed(0)
    changed = augment(ramp, Augmentation(flip=0, **{name: value}))
    assert changed.shape == ramp.shape
    assert torch.isfinite(changed).all()
    assert not torch.equal(changed, ramp)
    if name != "blur":
        assert len({tuple(face.flatten().tolist()) for face in changed}) > 32


def test_a_flip_mirrors_about_half_of_the_faces_exactly(ramp):
    torch.manual_seed(1)
    changed = augment(ramp, Augmentation(flip=0.5))
    mirrored = ramp.flip(-1)
    is_same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(changed, ramp, strict=True)]
    is_mirrored = [torch.allclose(a, b, atol=1e-5) for a, b in zip(changed, mirrored, strict=True)]
    assert all(a != b for a, b in zip(is_same, is_mirrored, strict=True))
    assert 16 < sum(is_mirrored) < 48


def test_a_turn_moves_a_point_by_its_angle():
    face = torch.zeros(200, 1, 41, 41)
    face[:, :, 20, 35] = 1  # right of the centre
    torch.manual_seed(0)
    turned = augment(face, Augmentation(flip=0, rotation=30))
    weights = turned.flatten(2) / turned.flatten(2).sum(-1, keepdim=True)
    y, x = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(41.0) - 20, indexing="ij")
    angles = torch.rad2deg(torch.atan2((weights * y.flatten()).sum(-1), (weights * x.flatten()).sum(-1)))
    assert angles.abs().max() < 32
    assert angles.max() > 20
    assert angles.min() < -20


def test_a_shift_goes_no_further_than_its_share():
    face = torch.zeros(200, 1, 40, 40)
    face[:, :, 18:22, 18:22] = 1
    torch.manual_seed(0)
    moved = augment(face, Augmentation(flip=0, translation=0.1))
    columns = (moved.sum(2) * (torch.arange(40.0) - 19.5)).sum(-1) / moved.sum((2, 3))
    assert 3 < columns.abs().max() <= 4.01


def test_an_erased_rectangle_covers_two_to_twenty_percent():
    torch.manual_seed(0)
    face = torch.full((300, 1, 48, 48), 2.0)  # a brightness that no rectangle has
    share = (augment(face, Augmentation(flip=0, erasing=1)) != 2).float().mean((1, 2, 3))
    assert share.min() > 0.01
    assert share.max() < 0.24
    none = augment(face, Augmentation(flip=0, erasing=0.25))
    assert 0.6 < ((none == 2).all(-1).all(-1).all(-1)).float().mean() < 0.9


def test_the_same_seed_changes_the_same_way(ramp):
    how = Augmentation(**EACH)
    torch.manual_seed(3)
    first = augment(ramp, how)
    torch.manual_seed(3)
    assert torch.equal(first, augment(ramp, how))


def test_crops_are_squares_at_random_places_of_the_face_and_never_outside_it():
    places = torch.arange(24.0).expand(400, 1, 24, 24) / 24  # every column says where it is
    crops = augment(places, NOTHING, crop=16)
    assert crops.shape == (400, 1, 16, 16)
    left = crops[:, 0, 0, 0] * 24
    assert left.min() >= 0
    assert left.max() <= 8
    assert left.min() < 0.5
    assert left.max() > 7.5
    torch.testing.assert_close(crops[:, 0, :, -1] * 24 - left[:, None], torch.full((400, 16), 15.0), atol=1e-3, rtol=0)


def test_a_crop_as_large_as_the_face_is_the_face(ramp):
    assert torch.equal(augment(ramp, NOTHING, crop=24), ramp)


def test_mixup_blends_faces_and_targets_by_the_same_shares():
    torch.manual_seed(0)
    faces = torch.eye(50).view(50, 1, 1, 50)
    blended, targets, votes = mixed(0.4, faces, torch.eye(50), torch.eye(50) / 2)
    torch.testing.assert_close(blended.flatten(1), targets)
    torch.testing.assert_close(votes, targets / 2)
    torch.testing.assert_close(targets.sum(1), torch.ones(50))
    assert (targets.max(1).values < 0.999).float().mean() > 0.5
    assert (targets > 0).sum(1).max() == 2


def test_a_share_of_the_faces_is_as_of_a_worse_camera():
    torch.manual_seed(0)
    faces = torch.zeros(400, 1, 48, 48)
    faces[..., 24:] = 1  # an edge
    changed = augment(faces, Augmentation(flip=0, degradation=0.5))
    untouched = torch.isclose(changed, faces, atol=1e-3).flatten(1).all(1)
    assert 160 < untouched.sum() < 240
    beside = changed[~untouched][..., 26].mean((1, 2))  # two pixels from the edge
    assert beside.min() < 0.96
    assert beside.max() > 0.99
    far = changed[~untouched][..., 40:].std((1, 2, 3))
    assert far.max() < 0.11
    assert far.max() > 4 * far.min()
