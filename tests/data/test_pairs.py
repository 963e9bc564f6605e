import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset

import mien
from mien.data.reading import faces_of_pairs
from mien.drawn import draw_faces
from mien.errors import MienError


class Faces(Dataset):
    """As torchvision's data sets: numbers for labels, which `classes` names in their order."""

    def __init__(self, drawn, form, classes=None):
        self.drawn, self.form = drawn, form
        self.classes = sorted(drawn.labels) if classes is None else classes

    def __len__(self):
        return len(self.drawn)

    def __getitem__(self, row):  # which raises no IndexError at the end, as many data sets
        row %= len(self.drawn)
        return self.form(self.drawn.images[row]), self.classes.index(self.drawn.labels[int(self.drawn.classes[row])])


@pytest.fixture(scope="module")
def drawn():
    return draw_faces(3, size=48)


FORMS = {
    "Pillow": Image.fromarray,
    "array": np.asarray,
    "floats": lambda pixels: pixels / 255,
    "tensor": lambda pixels: torch.from_numpy(np.array(pixels))[None] / 255,
    "tensor without channels": lambda pixels: torch.from_numpy(np.array(pixels)),
    "colour tensor": lambda pixels: torch.from_numpy(np.array(pixels))[None].repeat(3, 1, 1),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_dataset_is_read_with_its_classes_in_the_usual_order(form, drawn):
    faces = faces_of_pairs(Faces(drawn, form), 48, 1)
    assert faces.labels == mien.FER2013
    np.testing.assert_array_equal(faces.classes, drawn.classes)
    np.testing.assert_allclose(faces.images.astype(int), drawn.images.astype(int), atol=1)
    assert faces.split_names == ("none",)
    assert faces.ids[:2].tolist() == [b"0", b"1"]


def test_a_subset_and_a_list_of_texts_give_the_same(drawn):
    dataset = Faces(drawn, Image.fromarray)
    subset = faces_of_pairs(Subset(dataset, range(10)), 48, 1)
    listed = faces_of_pairs([(dataset[row][0], dataset.classes[dataset[row][1]]) for row in range(10)], 48, 1)
    assert subset.labels == listed.labels
    np.testing.assert_array_equal(subset.classes, listed.classes)
    np.testing.assert_array_equal(subset.images, drawn.images[:10])


def test_rows_of_the_hub_and_joined_data_sets_are_read(drawn):
    dataset = Faces(drawn, Image.fromarray)
    joined = faces_of_pairs(ConcatDataset([dataset, Subset(dataset, [0, 1])]), 48, 1)
    assert (len(joined), joined.labels) == (len(drawn) + 2, mien.FER2013)
    dicts = [{"image": dataset[row][0], "label": drawn.labels[int(drawn.classes[row])]} for row in range(10)]
    np.testing.assert_array_equal(faces_of_pairs(dicts, 48, 1).images, drawn.images[:10])


def test_splits_are_named_as_data_sets_name_them(drawn):
    dataset = Faces(drawn, Image.fromarray)
    faces = faces_of_pairs({"train": dataset, "val": Subset(dataset, [0, 1]), "PrivateTest": [dataset[2]]}, 48, 1)
    assert faces.split_names == ("train", "validation", "test")
    assert [len(faces.split(name)) for name in faces.split_names] == [len(drawn), 2, 1]
    assert len(set(faces.ids.tolist())) == len(faces)


def test_paths_are_the_ids_and_are_read(drawn, tmp_path):
    for row in range(4):
        Image.fromarray(drawn.images[row]).save(tmp_path / f"{row}.png")
    faces = faces_of_pairs([(tmp_path / f"{row}.png", "happy" if row % 2 else "joyless") for row in range(4)], 48, 1)
    assert faces.id(3) == str(tmp_path / "3.png")
    assert set(faces.labels) == {"happy", "joyless"}


def test_numbers_without_names_stay_numbers(drawn):
    faces = faces_of_pairs([(image, int(label)) for image, label in zip(drawn.images, drawn.classes, strict=True)], 48, 1)
    assert faces.labels.names == tuple("0123456")


@pytest.mark.slow
def test_a_model_is_trained_evaluated_audited_and_quantized_on_a_dataset(drawn, run, recipe_of_one_epoch, tmp_path):
    dataset = Faces(draw_faces(8, size=64), Image.fromarray)
    parts = {"train": dataset, "test": Subset(dataset, range(0, 40, 2))}
    trained = mien.train(recipe_of_one_epoch, parts, tmp_path / "run", quiet=True, threads=1, device="cpu")
    assert trained.record.data["rows"] > 0
    assert mien.evaluate(tmp_path / "run", parts, tmp_path / "report", quiet=True).metrics.accuracy.of == 20
    assert len(mien.audit(dataset, tmp_path / "audit", quiet=True).faces) == len(dataset)
    mien.quantize(tmp_path / "run", dataset, tmp_path / "int8.onnx", quiet=True)
    assert (tmp_path / "int8.onnx").is_file()


@pytest.fixture
def recipe_of_one_epoch():
    from dataclasses import replace

    return replace(mien.load_recipe("mien-s"), epochs=1, batch_size=16)


class NoLength:
    def __getitem__(self, row):
        return np.zeros((8, 8), np.uint8), "happy"


PIXELS = np.zeros((8, 8), np.uint8)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([1, 2], "Labelled faces in Python are .* The mistake is in row 0: TypeError, cannot unpack"),
        ([(PIXELS, 0.5)], "in row 0: TypeError, 'float' object"),
        ([(PIXELS,)], "in row 0: ValueError, not enough values"),
        ([(PIXELS, "happy"), (PIXELS, None)], "in row 1: TypeError, 'NoneType'"),
        ([(PIXELS, -1)], "in row 0: ValueError, -1 is not in range"),
        ([{"picture": PIXELS}], "in row 0: KeyError, 'image'"),
        (iter([(PIXELS, "happy")]), "in the data: a list_iterator without len and index"),
        (NoLength(), "in the data: a NoLength without len and index"),
        (Faces, "in the data: a type without len and index"),
        (7, "in the data: a int"),
        ({"train": 7}, "in the data: a int"),
        ({"trian": [(PIXELS, "happy")]}, "the split 'trian' is none of"),
        ([], "The data are empty"),
        ({"train": []}, "The data are empty"),
        ([("none.jpg", "happy")], r"in row 0: There is no image 'none\.jpg'"),
        ({"test": [(PIXELS, "sad"), (PIXELS / -3 - 9, "sad")]}, "in row 1 of test: The image array has values"),
    ],
)
def test_wrong_pairs_are_answered_with_the_first_that_is_wrong(data, sentence):
    with pytest.raises(MienError, match=sentence):
        faces_of_pairs(data, 48, 1)


def test_a_number_without_a_class_is_named(drawn):
    dataset = Faces(drawn, np.asarray)
    dataset.classes = dataset.classes[:3] + ["sad"] * 4
    wrong = [(drawn.images[0], 9)]
    listed = type("Listed", (list,), {"classes": ["sad", "happy"]})(wrong)
    with pytest.raises(MienError, match="in row 0: ValueError, 9 is not in range"):
        faces_of_pairs(listed, 48, 1)


def test_one_label_is_refused_by_training_as_for_files(drawn, recipe_of_one_epoch, tmp_path):
    with pytest.raises(MienError, match="at least two labels"):
        mien.train(recipe_of_one_epoch, [(image, "happy") for image in drawn.images], tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_arrays_of_another_kind_are_answered_with_a_sentence(drawn):
    from dataclasses import replace

    with pytest.raises(MienError, match=r"Images must be an array of uint8.*not list\. Pairs"):
        mien.FaceSet.from_arrays([Image.fromarray(image) for image in drawn.images], drawn.classes, mien.FER2013)
    with pytest.raises(MienError, match=r"need 21 texts in the column 'groups', not str\."):
        replace(drawn, groups="person")
    with pytest.raises(MienError, match=r"in the column 'groups', not int64 \(21,\)\."):
        replace(drawn, groups=np.arange(21))
