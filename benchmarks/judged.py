"""FER-2013's faces with the truth that a benchmark judges by: the crowd's votes where they are given, else the labels."""

import mien


def read_judged(data: str, votes: str | None, split: str) -> mien.FaceSet:
    """Read a split, 48 pixels and gray; with votes only the rows that have them, the votes as their targets."""
    faces = mien.read_faces(mien.DataSource(data, votes=votes, votes_as="beside" if votes else "distribution"), 48, 1)
    return faces.split(split).judged_by_votes() if votes else faces.split(split)
