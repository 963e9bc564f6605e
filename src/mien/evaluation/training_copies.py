"""What copies of training faces are worth: the figures on all rows, and on those that are no copies."""

from dataclasses import dataclass

import numpy as np

from mien.data.signatures import EXACT, MOST_DIGESTED, NEAR, NO_COPY, Noted, TrainingRows, copies_of_training_rows, from_text
from mien.evaluation.metrics import Metrics, measure
from mien.evaluation.statistics import Difference, Proportion, difference, proportion
from mien.inference.classifier import Classifier
from mien.labels import LabelSet

KEY = "mien.train_rows"
"""Where a model file notes the faces it was trained on."""


@dataclass(frozen=True)
class TrainingCopies:
    """Which rows are copies of faces the model was trained on, and what it is worth without them.

    Attributes:
        noted: what the model file notes of its training faces: signatures, or digests, by which only exact copies are known.
        training_rows: how many training faces there were.
        exact: rows with exactly the pixels of a training face.
        near: rows that show the same picture as one; None where only exact copies are known.
        on_copies: accuracy on the copies; None where there are none.
        without: the figures on all other rows; None where every row is a copy.
        gap: accuracy on the copies less that on the other rows, Newcombe's interval; None where either has no rows.
        worth: accuracy on all rows less that without the copies; None likewise. It is `gap` times the share of the copies.
    """

    noted: Noted
    training_rows: int
    exact: int
    near: int | None
    on_copies: Proportion | None
    without: Metrics | None
    gap: Difference | None
    worth: Difference | None

    @property
    def count(self) -> int:
        """How many rows are copies, exact or near."""
        return self.exact + (self.near or 0)


def noted_training_rows(model: Classifier) -> TrainingRows | None:
    """Read what a model file notes of the faces it was trained on; None where it does not.

    Raises:
        MienError: if that is damaged.
    """
    text = model.metadata.get(KEY)
    return from_text(text) if text else None


def find_training_copies(model: Classifier, images: np.ndarray) -> tuple[TrainingRows, np.ndarray] | None:
    """Find the faces that are copies of those the model was trained on.

    Args:
        model: the opened model.
        images: (N, H, W) or (N, H, W, 3), uint8.

    Returns:
        What the model file notes, and (N,) of exact, near or nothing; None where it notes nothing.

    Raises:
        MienError: if what it notes is damaged.
    """
    known = noted_training_rows(model)
    kinds = copies_of_training_rows(images, known) if known else None
    return None if known is None or kinds is None else (known, kinds)


def measure_training_copies(
    known: TrainingRows, kinds: np.ndarray, probabilities: np.ndarray, targets: np.ndarray, labels: LabelSet
) -> TrainingCopies:
    """Measure with and without the copies.

    Args:
        known: what the model file notes.
        kinds: (N,), of each row exact, near or nothing.
        probabilities: (N, K).
        targets: (N, K).
        labels: the K label names.
    """
    others = kinds == NO_COPY
    right = probabilities.argmax(axis=1) == targets.argmax(axis=1)
    on_copies = proportion(int(right[~others].sum()), int((~others).sum())) if not others.all() else None
    without = measure(probabilities[others], targets[others], labels) if others.any() else None
    gap = difference(on_copies, without.accuracy) if on_copies and without else None
    return TrainingCopies(
        noted=known.noted,
        training_rows=known.rows,
        exact=int((kinds == EXACT).sum()),
        near=int((kinds == NEAR).sum()) if known.noted == "signatures" else None,
        on_copies=on_copies,
        without=without,
        gap=gap,
        worth=gap.times(float((~others).mean())) if gap else None,
    )


def why_unknown(training_rows: int | None) -> str:
    """Say why copies of training faces are not known.

    Args:
        training_rows: how many the model says it was trained on, or None.
    """
    said = "The model file tells nothing of the faces it was trained on, so copies of them could not be looked for here."
    if training_rows and training_rows > MOST_DIGESTED:
        return f"{said} It was trained on {training_rows:,}; there is room for notes on {MOST_DIGESTED:,}."
    return f"{said} Models that this mien trains tell."
