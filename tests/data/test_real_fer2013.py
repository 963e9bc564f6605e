"""On the real data, where MIEN_FER2013 names their folder: the published counts."""

import pytest

from mien.data.reading import read_faces
from mien.data.source import DataSource
from mien.labels import FER2013


def test_the_official_class_counts_come_out(real_fer2013):
    faces = read_faces(real_fer2013)
    assert faces.labels == FER2013
    assert faces.split("train").counts().tolist() == [3995, 436, 4097, 7215, 4830, 3171, 4965]
    assert faces.split("validation").counts().tolist() == [467, 56, 496, 895, 653, 415, 607]


@pytest.mark.parametrize(("votes_as", "train", "validation"), [("majority", 25060, 3199), ("distribution", 28389, 3553)])
def test_as_many_rows_keep_their_votes_as_the_authors_count(votes_as, train, validation, real_fer2013):
    faces = read_faces(DataSource(real_fer2013, votes=real_fer2013 / "fer2013new.csv", votes_as=votes_as))
    assert (len(faces.split("train")), len(faces.split("validation"))) == (train, validation)
