from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mien.errors import MienError
from mien.training.batches import DeviceFaces
from mien.training.loop import train
from mien.training.networks import pixels
from mien.training.recipe import Augmentation, Distillation, Votes
from mien.training.transfer import TAUGHT, Teachers, Views, load_teachers


@pytest.fixture(scope="module")
def teachers(tmp_path_factory, drawn):
    """Two trained runs on the drawn faces."""
    from mien.training.recipe import load_recipe

    recipe = replace(load_recipe("mien-s"), epochs=1, batch_size=16)
    folder = tmp_path_factory.mktemp("teachers")
    for seed in (0, 1):
        train(replace(recipe, seed=seed), drawn, folder / str(seed), threads=1, quiet=True)
    return [str(folder / "0"), str(folder / "1")]


def test_teachers_answer_by_the_mean_of_their_probabilities(teachers, recipe, drawn):
    told = replace(recipe, distillation=Distillation(teachers, temperature=2.0))
    both = load_teachers(told, drawn)
    faces = pixels(torch.from_numpy(np.array(drawn.images[:6])))
    singles = [load_teachers(replace(told, distillation=Distillation([each], temperature=2.0)), drawn) for each in teachers]
    torch.testing.assert_close(both(faces), (singles[0](faces) + singles[1](faces)) / 2)
    logits = singles[0].networks[0].eval().logits(faces)
    torch.testing.assert_close(singles[0](faces), torch.softmax(logits / 2, 2))


@pytest.mark.parametrize("views", [0, 2])
def test_a_student_learns_from_its_teachers_live_or_by_views(views, teachers, recipe, drawn, tmp_path):
    taught = replace(recipe, epochs=2, distillation=Distillation(teachers, weight=0.9, views=views))
    train(taught, drawn, tmp_path / "taught", threads=1, quiet=True)
    train(replace(taught, distillation=Distillation()), drawn, tmp_path / "alone", threads=1, quiet=True)
    with_teachers, alone = (load_file(tmp_path / name / "weights.safetensors") for name in ("taught", "alone"))
    assert with_teachers.keys() == alone.keys(), "the teachers are no part of the student"
    assert any(not torch.equal(with_teachers[key], alone[key]) for key in alone)
    assert (tmp_path / "taught" / TAUGHT).exists() == bool(views)
    assert str(teachers[0]).encode() not in (tmp_path / "taught" / "model.onnx").read_bytes()


def test_views_are_the_same_every_time_and_are_answered_once(teachers, recipe, drawn, tmp_path, monkeypatch):
    changes = Augmentation(rotation=20, noise=0.1)
    told = replace(recipe, augmentation=changes, crop=40, distillation=Distillation(teachers, views=2))
    faces, teaching = DeviceFaces(drawn, torch.device("cpu")), load_teachers(told, drawn)
    first = Views(told, faces, teaching, tmp_path)
    asked = []
    monkeypatch.setattr(type(teaching), "forward", lambda *_: asked.append(1))
    torch.manual_seed(9)
    before = torch.get_rng_state()
    again = Views(told, faces, teaching, tmp_path)
    epochs = [again.of_epoch(epoch) for epoch in range(3)]
    assert torch.equal(torch.get_rng_state(), before), "making views does not disturb training"
    assert not asked
    assert epochs[0].images.shape == (len(drawn), 40, 40)
    assert torch.equal(epochs[0].images, epochs[2].images)
    assert not torch.equal(epochs[0].images, epochs[1].images)
    for one, other in zip(epochs, (first.of_epoch(epoch) for epoch in range(3)), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.taught, other.taught)
    monkeypatch.undo()


def roughness(faces):
    """What noise changes most: (N, 1, 1)."""
    return faces.diff().abs().mean((1, 2, 3)).view(-1, 1, 1)


def test_the_student_alone_sees_worse_photos(teachers, recipe, drawn, tmp_path, monkeypatch):
    noisy = replace(recipe, epochs=1, augmentation=Augmentation(rotation=20, noise=0.2), crop=40)
    told = replace(noisy, distillation=Distillation(["teacher"], views=1))
    view = Views(told, DeviceFaces(drawn, torch.device("cpu")), roughness, tmp_path).of_epoch(0)
    assert (roughness(pixels(view.images)) > 2 * view.taught).all()

    def looked_at(_, faces):
        asked.append(float(roughness(faces).max()))
        return torch.full((len(faces), 1, 7), 1 / 7)

    asked = []
    monkeypatch.setattr(Teachers, "forward", looked_at)
    live = replace(noisy, distillation=Distillation(teachers))
    train(live, drawn, tmp_path / "live", threads=1, quiet=True)
    assert max(asked) < float(roughness(pixels(view.images)).min())


def test_both_heads_are_taught_where_the_teacher_has_both(recipe, drawn, tmp_path):
    voted = replace(drawn, votes=drawn.targets)
    two = replace(recipe, epochs=1, votes=Votes(head=0.5))
    train(two, voted, tmp_path / "teacher", threads=1, quiet=True)
    teaching = load_teachers(replace(two, distillation=Distillation([str(tmp_path / "teacher")])), voted)
    assert teaching.heads == ("label", "crowd")
    assert teaching(torch.rand(3, 1, 48, 48)).shape == (3, 2, 7)


def test_teachers_that_do_not_fit_are_refused(teachers, recipe, drawn, tmp_path):
    def with_teacher(run, **changes):
        return replace(recipe, distillation=Distillation([str(run)]), **changes)

    with pytest.raises(MienError, match="not the folder of a finished run"):
        load_teachers(with_teacher(tmp_path), drawn)
    with pytest.raises(MienError, match=r"has the labels angry, .*, but the student has happy, sad"):
        load_teachers(with_teacher(teachers[0]), drawn.keep(["happy", "sad"]))
    with pytest.raises(MienError, match="both must take the same faces"):
        load_teachers(with_teacher(teachers[0], size=64), drawn)
    with pytest.raises(MienError, match="views must be 0"):
        replace(recipe, distillation=Distillation(teachers, views=2), crop_from=36)
