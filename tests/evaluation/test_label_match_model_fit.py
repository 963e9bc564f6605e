import numpy as np
import pytest

from mien.data.faceset import FaceSet
from mien.drawn import draw_faces
from mien.evaluation.label_match import fit_to_model
from mien.labels import FER2013, FERPLUS, LabelSet


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    return draw_faces(2, size=24, validation=0.5)


def test_a_model_without_a_recipe_is_measured_on_the_data_as_they_are(faces):
    assert fit_to_model("", FER2013, faces) is faces


def test_labels_are_merged_and_kept_as_in_training(faces, capsys):
    recipe = "merge: {low: [sad, fear]}\nkeep: [happy, low]"
    fitted = fit_to_model(recipe, LabelSet(["happy", "low"]), faces)
    assert fitted.labels.names == ("happy", "low")
    assert len(fitted) == 6
    assert "8 rows of other labels left out" in capsys.readouterr().err


def test_validation_rows_are_test_rows_to_a_model_that_carved_its_own(faces, capsys):
    fitted = fit_to_model("own_validation: false", FER2013, faces)
    assert fitted.split_names == ("train", "test")
    assert np.array_equal(fitted.split("test").images, faces.split("validation").images)
    assert "are test rows" in capsys.readouterr().err
    assert fit_to_model("own_validation: true", FER2013, faces).split_names == ("train", "validation")


def test_contempt_is_left_out_if_the_model_lacks_nothing_else():
    images = np.zeros((8, 24, 24), np.uint8)
    faces = FaceSet.from_arrays(images, range(8), FERPLUS)
    fitted = fit_to_model("", FER2013, faces)
    assert set(fitted.labels.names) == set(FER2013.names)
    assert len(fitted) == 7
