import re
import shutil
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mien
from mien.cli import main
from mien.drawn import draw_faces
from mien.errors import MienError
from mien.training.networks import build_network, head_of
from mien.training.recipe import Recipe, call_own, load_recipe

MODULE = """
import torch
from torch import nn
from mien.training.networks import NetworkSpec

class Net(nn.Module):
    def __init__(self, num_classes, in_channels, width=8):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, width, 3, 2), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, num_classes)

    def forward(self, faces):
        return self.head(self.body(faces).mean((2, 3)))

def by_spec(spec):
    return nn.Sequential(nn.AvgPool2d(spec.size), nn.Flatten(), nn.Linear(spec.channels, spec.classes))

def without_linear(classes, channels):
    return nn.Sequential(nn.Conv2d(channels, classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

class Stuck(Net):
    def forward(self, faces):
        return super().forward(faces if faces.mean() > 0 else -faces)

class Broken(Net):
    def forward(self, faces):
        return self.missing(faces)

def five(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 5))

def probabilities(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, classes), nn.Softmax(dim=1))

def two_faces(num_classes, in_channels):
    return Changed(num_classes, in_channels, lambda logits: logits + torch.zeros(2, 7))

def frozen(spec):
    return by_spec(spec).requires_grad_(False)

class Changed(Net):
    def __init__(self, num_classes, in_channels, change):
        super().__init__(num_classes, in_channels)
        self.change = change

    def forward(self, faces):
        return self.change(super().forward(faces))

def without_gradient(num_classes, in_channels):
    return Changed(num_classes, in_channels, torch.detach)

def no_numbers(num_classes, in_channels):
    return Changed(num_classes, in_channels, lambda logits: logits / 0 * 0)

def two_outputs(num_classes, in_channels):
    return Changed(num_classes, in_channels, lambda logits: (logits, logits))

class Weightless(nn.Module):
    def forward(self, faces):
        return faces.flatten(1)[:, :7]

def no_module():
    return 7

def needs(secret):
    return secret

darkened = []

def darken(faces):
    darkened.append((tuple(faces.shape), faces.dtype, float(faces.max())))
    return faces * 0.5

def shrink(faces):
    return faces[..., ::2, ::2]

def fail(faces):
    return faces / "2"

def as_array(faces):
    return faces.numpy()

"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """A module in the current folder, as users write one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    Path("mynets.py").write_text(MODULE)
    yield import_module("mynets")
    del sys.modules["mynets"]


@pytest.mark.slow
def test_a_network_of_the_user_is_trained_exported_and_predicts_without_its_code(faces, quick, capsys):
    flags = ["--recipe.network", "mynets:Net", "--recipe.network_options", '{"width": 12}']
    assert main(["train", "mien-s", "--data", str(faces), "--out", "run", *flags, *quick]) == 0
    network = build_network(Recipe(network="mynets:Net", network_options={"width": 12}), 7)
    assert network.body[0].out_channels == 12
    Path("mynets.py").unlink()
    model = mien.Classifier("run")
    assert model.predict_proba(np.zeros((3, 48, 48), np.uint8)).shape == (3, 7)
    assert b"mynets.py" not in Path("run/model.onnx").read_bytes()  # no place in the code


@pytest.mark.parametrize("name", ["Net", "by_spec", "without_linear"])
def test_it_may_take_a_spec_or_values_by_their_usual_names(name):
    network = build_network(Recipe(network=f"mynets:{name}", channels=3, size=40), 5)
    assert network(torch.zeros(2, 3, 40, 40)).shape == (2, 5)
    assert list(head_of(network).parameters())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mynets:Gone", "mynets:Gone cannot be imported (AttributeError: module 'mynets' has no attribute 'Gone'"),
        ("nowhere:Net", "cannot be imported (ModuleNotFoundError: No module named 'nowhere'"),
        ("mynets:darkened", "mynets:darkened failed (TypeError: "),
        ("mynets:no_module", "must be a torch.nn.Module that maps float32 (N, 1, 48, 48) to logits (N, 7)"),
        ("mynets:needs", "mynets:needs failed (TypeError: needs() missing 1 required positional argument: 'secret'"),
        ("mynets:five", "(it gives (2, 5))"),
        ("mynets:two_faces", "(it takes only two faces)"),
        ("mynets:frozen", "(it has no weights to train)"),
        ("mynets:without_gradient", "(its output has no gradient)"),
        ("mynets:no_numbers", "(it gives values that are not numbers)"),
        ("mynets:two_outputs", "(it gives a tuple)"),
        ("mynets:probabilities", "(it gives probabilities; leave out its softmax)"),
        ("mynets:Weightless", "(it has no weights to train)"),
        ("mynets:Broken", "('Broken' object has no attribute 'missing')"),
        ("mynets:Stuck", "by operations that torch.export knows"),
    ],
)
def test_what_is_no_network_is_said_before_any_training(name, says, faces, quick, capsys):
    assert main(["train", "mien-s", "--data", str(faces), "--out", "run", "--recipe.network", name, *quick]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "Traceback" not in error
    assert says in error
    assert not Path("run").exists()


@pytest.mark.slow
def test_an_augmentation_of_the_user_changes_the_training_faces_on_the_device(module):
    recipe, drawn = replace(load_recipe("mien-s"), epochs=1, batch_size=16), draw_faces(4, validation=0.25)

    def train(function):
        changed = replace(recipe, augmentation=replace(recipe.augmentation, function=function))
        mien.train(changed, drawn, Path(function.partition(":")[2]), threads=1, quiet=True)

    train("mynets:darken")
    shape, dtype, _ = module.darkened[-1]
    assert shape == (16, 1, 48, 48)
    assert dtype == torch.float32
    assert load_recipe("darken/recipe.yaml").augmentation.function == "mynets:darken"
    with pytest.raises(
        MienError,
        match=r"mynets:shrink must return faces as a torch.Tensor of the shape \(\d+, 1, 48, 48\), not \(\d+, 1, 24, 24\)",
    ):
        train("mynets:shrink")
    with pytest.raises(MienError, match=r"mynets:as_array must return faces as a torch.Tensor of .*, not a ndarray"):
        train("mynets:as_array")
    with pytest.raises(MienError, match=r"mynets:fail failed \(TypeError: .*, in line \d+ of .*mynets.py\)"):
        train("mynets:fail")
    assert not any(Path(name).exists() for name in ("shrink", "as_array", "fail"))  # said before the folder is made
    copies = replace(recipe.balance, copies=replace(recipe.balance.copies, function="mynets:fail"))
    with pytest.raises(MienError, match="mynets:fail failed"):
        mien.train(replace(recipe, balance=copies), drawn, Path("copies"), threads=1, quiet=True)
    assert not Path("copies").exists()


@pytest.mark.slow
def test_the_options_of_the_recipes_network_are_left_out_for_another_one(faces, quick, capsys):
    words = ["train", "mien-s", "--data", str(faces), "--recipe.network", "mynets:Net", *quick]
    assert main([*words, "--out", "run"]) == 0
    assert load_recipe("run/recipe.yaml").network_options is None
    other = "--recipe.network_options", '{"depth": 2}'
    assert main([*words, "--out", "two", *other]) == 2
    assert "unexpected keyword argument 'depth'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_code_of_the_documentation_runs(faces, quick, tmp_path, capsys):
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    network, augmentation, dataset, callback, _, logger = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for code in (network, augmentation, callback):
        Path(code.partition(".py")[0].removeprefix("# ") + ".py").write_text(code)
    del sys.modules["mynets"]
    flags = ["--recipe.network", "mynets:Net", "--recipe.network_options", '{"width": 48}', "--callback", "notify:note"]
    flags += ["--recipe.augmentation.function", "myaugment:posterize"]
    assert main(["train", "mien-s", "--data", str(faces), "--out", "runs/first", *flags, *quick]) == 0
    for split, name in (("train", "faces"), ("train", "train"), ("validation", "val")):
        shutil.copytree(faces / split, name)
    for label, name in (("happy", "a.jpg"), ("sad", "b.jpg")):
        Image.open(next(Path("faces", label).iterdir())).save(name)
    exec(compile(dataset, "plugins.md", "exec"), {})
    assert mien.Classifier("runs/mine").labels == mien.Classifier("runs/first").labels
    assert len(mien.evaluate("runs/split", data=[("a.jpg", "happy"), ("b.jpg", "sad")], out="again").metrics.labels) == 7
    shutil.rmtree("runs/mine")
    exec(compile(logger, "plugins.md", "exec"), {"mien": mien})
    assert next(Path("logs").rglob("metrics.csv")).read_text().count("\n") > 2


def test_a_function_without_a_signature_can_be_an_augmentation():
    faces = torch.rand(2, 1, 8, 8)
    assert torch.equal(call_own("torch:sigmoid", faces), torch.sigmoid(faces))
