"""Data brought to the labels of a model before it is measured on them."""

import sys

from mien.data.faceset import FaceSet
from mien.labels import LabelSet


def in_labels_of(recipe: str, labels: LabelSet, faces: FaceSet) -> FaceSet:
    """Merge and keep labels as the model's recipe did, where the data have the labels that it was made from.

    Contempt is left out where it is all that the model lacks: FER+ has votes for it, FER-2013 no label. On stderr stands how
    many rows that leaves out.

    Args:
        recipe: the model's recipe as YAML text; empty where it has none.
        labels: the model's label names.
        faces: the data.
    """
    import yaml

    made = yaml.safe_load(recipe) or {}
    merge, keep = made.get("merge") or {}, made.get("keep") or []
    if {member for members in merge.values() for member in members}.issubset(faces.labels.names):
        faces = faces.merge(merge) if merge else faces
    if "contempt" not in labels.names and {*labels.names, "contempt"} == set(faces.labels.names):
        keep = labels.names
    if keep and set(keep) < set(faces.labels.names):
        kept = faces.keep(keep)
        print(f"the model knows {', '.join(keep)}: {len(faces) - len(kept):,} rows of other labels left out", file=sys.stderr)
        return kept
    return faces
