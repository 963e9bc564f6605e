"""Data brought to the labels and the splits of a model before it is measured on them."""

import sys

from mien.data.faceset import FaceSet
from mien.data.splits import move_split
from mien.labels import LabelSet


def fit_to_model(recipe: str, labels: LabelSet, faces: FaceSet) -> FaceSet:
    """Merge and keep labels as the model's recipe did, where the data have the labels that it was made from.

    Where it was validated on rows carved from training, the data's own validation rows were test rows to it, and are here.
    Contempt is left out where it is all that the model lacks: FER+ has votes for it, FER-2013 no label. On stderr stands how
    many rows that leaves out, and what became test rows.

    Args:
        recipe: the model's recipe as YAML text; empty where it has none.
        labels: the model's label names.
        faces: the data.
    """
    import yaml

    made = yaml.safe_load(recipe) or {}
    if made.get("own_validation") is False and "validation" in faces.split_names:
        faces = move_split(faces, "validation", "test")
        print("the model was validated on training rows of its own: the data's validation rows are test rows", file=sys.stderr)
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
