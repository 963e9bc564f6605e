"""Every number that a public function takes is checked where it enters, in Python and on the command line alike."""

import inspect
import re

import numpy as np
import pytest
from PIL import Image

import mien
from mien.drawn import draw_photo, write_folder
from mien.training.recipe import Recipe

ABSURD = [float("nan"), float("inf"), -1, 10**30, 10**5000, True, "x", [1], np.float32("nan")]
pytestmark = pytest.mark.slow  # 400 calls
SHARED = {"source", "classes", "row"}  # a source may be the number of a camera; arrays are checked by from_arrays
MADE_BY_MIEN = {"Frame", "Prediction"}  # results, which no user makes


def numeric_parameters():
    """List each public function or method with each parameter that is a number, and its annotation."""
    for name in mien.__all__:
        value = getattr(mien, name)
        if name in MADE_BY_MIEN or name == "MienError":
            continue
        callables = {name: value} if callable(value) else {}
        if inspect.isclass(value):
            methods = inspect.getmembers(value, callable)
            callables |= {f"{name}.{method}": function for method, function in methods if not method.startswith("_")}
        for place, function in callables.items():
            for parameter in inspect.signature(function).parameters.values():
                if re.search(r"\b(int|float)\b", str(parameter.annotation)) and parameter.name not in SHARED:
                    yield place, parameter.name, str(parameter.annotation)


FOUND = list(numeric_parameters())
PLACES = [(place, name) for place, name, _ in FOUND]
WHOLE = [(place, name) for place, name, kind in FOUND if "float" not in kind]
NEEDED = [(place, name) for place, name, kind in FOUND if "float" not in kind and "None" not in kind]


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Valid calls by the name of the function, to which one bad argument is added."""
    folder = tmp_path_factory.mktemp("numbers")
    write_folder(2, folder / "faces", test=0)
    Image.fromarray(draw_photo(["happy"], 0, 320, 240)[0]).save(folder / "photo.png")
    faces = mien.draw_faces(4, validation=0.25)
    model = mien.Classifier("mien-s")
    photo, data = folder / "photo.png", folder / "faces"
    return {
        "FaceSet.carve": lambda **given: faces.carve(**{"amount": 1, **given}),
        "FaceSet.folds": lambda **given: faces.folds(**{"count": 2, **given}),
        "draw_face": lambda **given: mien.draw_face("happy", **{"seed": 0, **given}),
        "draw_faces": lambda **given: mien.draw_faces(**{"per_class": 1, **given}),
        "Classifier": lambda **given: mien.Classifier("mien-s", **given),
        "Classifier.classify": lambda **given: model.classify(np.zeros((48, 48), np.uint8), **given),
        "Classifier.predict_proba": lambda **given: model.predict_proba(faces.images, **given),
        "Classifier.with_prior": lambda **given: model.with_prior(**given),
        "annotate": lambda **given: mien.annotate(photo, mien.predict(photo, model=model), **given),
        "explain": lambda **given: mien.explain(photo, folder / "out.png", **given),
        "predict": lambda **given: list(mien.predict(photo, model=model, **given)),
        "Recipe": lambda **given: Recipe(**given),
        "read_faces": lambda **given: mien.read_faces(data, **given),
        "crop": lambda **given: mien.crop(data, folder / "crops", **given),
        "audit": lambda **given: mien.audit(data, folder / "audit", **given),
        "evaluate": lambda **given: mien.evaluate("mien-s", data, folder / "report", **given),
        "quantize": lambda **given: mien.quantize("mien-s", data, folder / "small.onnx", **given),
        "train": lambda **given: mien.train("mien-s-quick", data, folder / "run", **given),
    }


def test_there_is_a_call_for_every_function_with_a_number(calls):
    assert {place for place, _ in PLACES} == set(calls)


@pytest.mark.parametrize("value", ABSURD, ids=["nan", "inf", "-1", "1e30", "digits", "true", "text", "list", "float32"])
@pytest.mark.parametrize(("place", "name"), PLACES)
def test_an_absurd_number_is_refused(place, name, value, calls):
    with pytest.raises((mien.MienError, TypeError)) as told:
        calls[place](**{name: value})
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("value", [1.5, np.float64(2), "2", np.array([1])], ids=["half", "float64", "text", "array"])
@pytest.mark.parametrize(("place", "name"), WHOLE)
def test_what_is_no_whole_number_is_refused(place, name, value, calls):
    with pytest.raises((mien.MienError, TypeError)) as told:
        calls[place](**{name: value})
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("place", "name"), NEEDED)
def test_none_is_no_number(place, name, calls):
    with pytest.raises((mien.MienError, TypeError)) as told:
        calls[place](**{name: None})
    assert "\n" not in str(told.value)
