"""What is varied in each study of `study.py`, and on which recipe."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from mien.data.faceset import FaceSet
from mien.evaluation.audit import inspect, rows_to_leave_out
from mien.training.recipe import Balance, Recipe, Votes

Change = Callable[[Recipe], Recipe]


@dataclass(frozen=True)
class Study:
    """What is varied, and on what; the first variant is the one the others are compared with."""

    title: str
    introduction: str
    recipe: str
    base: Change
    base_in_words: str
    variants: dict[str, Change]
    needs_votes: bool = False
    faces: dict[str, Callable[[FaceSet], FaceSet]] = field(default_factory=dict)
    """Of variants that differ in the faces: how."""


STUDIES = {
    "imbalance": Study(
        title="Rare labels",
        introduction="Each variant does one thing about rare labels, and `none` does nothing.",
        recipe="mien-s-quick",
        base=lambda recipe: recipe,
        base_in_words="",
        variants={
            "none": lambda recipe: recipe,
            "sampler": lambda recipe: replace(recipe, balance=Balance(sampler=True)),
            "class weights": lambda recipe: replace(recipe, balance=Balance(class_weights=True)),
            "augmented minorities": lambda recipe: replace(recipe, balance=Balance(augment_minorities=True)),
            "focal loss, gamma 2": lambda recipe: replace(recipe, focal_gamma=2.0),
        },
    ),
    "activations": Study(
        title="Activations",
        introduction="Each variant has another activation after its convolutions and dense layers.",
        recipe="mish-cnn",
        base=lambda recipe: replace(recipe, balance=Balance()),
        base_in_words=" without its minority copies and its sampler (they triple an epoch, and the activation is compared)",
        variants={
            "mish": lambda recipe: replace(recipe, activation="mish"),
            "swish": lambda recipe: replace(recipe, activation="swish"),
            "relu": lambda recipe: replace(recipe, activation="relu"),
            "leaky_relu": lambda recipe: replace(recipe, activation="leaky_relu"),
        },
    ),
    "ablations": Study(
        title="Ablations",
        introduction="Each variant changes one thing of the recipe of the embedded model.",
        recipe="mien-s",
        base=lambda recipe: replace(recipe, precise_batch_norm=False),
        base_in_words=" without `precise_batch_norm`",
        needs_votes=True,
        variants={
            "as it is": lambda recipe: recipe,
            "no squeeze-and-excitation": lambda recipe: replace(recipe, network_options=None),
            "crop growing from 36 to 44": lambda recipe: replace(recipe, crop=44, crop_from=36),
            "no erasing": lambda recipe: replace(recipe, augmentation=replace(recipe.augmentation, erasing=0.0)),
            "mixup 0.2": lambda recipe: replace(recipe, mixup=0.2),
            "no label smoothing": lambda recipe: replace(recipe, label_smoothing=0.0),
            "votes as a second head": lambda recipe: replace(recipe, votes=Votes(head=0.5)),
            "votes mixed into the targets": lambda recipe: replace(recipe, votes=Votes(mix=0.5)),
            "no moving average": lambda recipe: replace(recipe, ema=0.0),
            "equalised histograms": lambda recipe: recipe,
            "without audited rows": lambda recipe: recipe,
        },
        faces={
            "equalised histograms": lambda faces: equalised(faces),
            "without audited rows": lambda faces: without_audited(faces),
        },
    ),
}


def equalised(faces: FaceSet) -> FaceSet:
    """Spread the gray values of every face evenly (OpenCV's equalizeHist)."""
    return replace(faces, images=np.stack([cv2.equalizeHist(np.ascontiguousarray(image)) for image in faces.images]))


def without_audited(faces: FaceSet) -> FaceSet:
    """Leave out the training rows that `mien audit --write` lists: blanks, copies, and those that their copies contradict."""
    return faces.take(np.delete(np.arange(len(faces)), list(rows_to_leave_out(inspect(faces)))))
