"""On the real data, where MIEN_FER2013 names their folder: the published counts."""

import numpy as np
import pytest

from mien.data.reading import read_faces
from mien.data.source import DataSource
from mien.labels import FER2013


def test_the_official_class_counts_come_out(real_fer2013):
    faces = read_faces(real_fer2013)
    assert faces.labels == FER2013
    assert faces.split("train").counts().tolist() == [3995, 436, 4097, 7215, 4830, 3171, 4965]
    assert faces.split("validation").counts().tolist() == [467, 56, 496, 895, 653, 415, 607]


@pytest.mark.slow
@pytest.mark.parametrize(("votes_as", "train", "validation"), [("majority", 25060, 3199), ("distribution", 28389, 3553)])
def test_as_many_rows_keep_their_votes_as_the_authors_count(votes_as, train, validation, real_fer2013):
    faces = read_faces(DataSource(real_fer2013, votes=real_fer2013 / "fer2013new.csv", votes_as=votes_as))
    assert (len(faces.split("train")), len(faces.split("validation"))) == (train, validation)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "rows", "voted", "agreeing"), [("train", 28709, 27928, 18220), ("validation", 3589, 3489, 2259)]
)
def test_votes_beside_the_labels_keep_every_row_and_agree_with_two_thirds(split, rows, voted, agreeing, real_fer2013):
    votes = real_fer2013 / "fer2013new.csv"
    alone = read_faces(real_fer2013).split(split)
    faces = read_faces(DataSource(real_fer2013, votes=votes, votes_as="beside")).split(split)
    assert len(faces) == rows
    assert np.array_equal(faces.targets, alone.targets)
    judged = faces.judged_by_votes()
    assert len(judged) == voted
    assert (judged.classes == faces.take(faces.votes.any(axis=1)).classes).sum() == agreeing


@pytest.mark.slow
def test_votes_beside_the_labels_are_the_distributions_without_contempt(real_fer2013):
    votes = real_fer2013 / "fer2013new.csv"
    judged = read_faces(DataSource(real_fer2013, votes=votes, votes_as="beside")).judged_by_votes()
    shared = read_faces(DataSource(real_fer2013, votes=votes)).keep(FER2013.names)
    place = {name: row for row, name in enumerate(shared.ids)}
    np.testing.assert_allclose(judged.targets, shared.targets[[place[name] for name in judged.ids]], atol=1e-6)
