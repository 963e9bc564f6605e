"""Quantizing: a model file in int8, measured beside the original."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.data.faceset import FaceSet
from mien.data.source import DataSource
from mien.errors import MienError
from mien.verbs.extras import require
from mien.verbs.labelled_faces import read_data

if TYPE_CHECKING:  # parameters are annotated without quotes, as in mien.verbs.training
    from mien.evaluation.mcnemar import PairedTest
    from mien.evaluation.proportion import Proportion
    from mien.inference.classifier import Classifier

TIMED = 64
"""Faces that are timed one by one."""


@dataclass(frozen=True)
class Quantized:
    """A model in int8 beside the one it was made from.

    Attributes:
        out: the new file.
        split: the rows that both were measured on: validation, test or train, by the head that judges labels.
        accuracies: of the original and of the new one.
        paired: whether they differ truly.
        sizes: of the two files, in bytes.
        speed: how many times as many faces a second the new one answers, one at a time on one thread, here and now.
    """

    out: Path
    split: str
    accuracies: "tuple[Proportion, Proportion]"
    paired: "PairedTest"
    sizes: tuple[int, int]
    speed: float

    def table(self) -> str:
        """Write it as text for a terminal."""
        seen = "" if self.split in ("validation", "test") else ", which it may have been trained on"
        part = {"none": "all rows"}.get(self.split, f"{self.split} split")
        lines = [f"{self.paired.rows:,} faces, {part}{seen}"]
        for name, accuracy, size in zip(("as it was", "in int8"), self.accuracies, self.sizes, strict=True):
            interval = f"{accuracy.low:.1%} to {accuracy.high:.1%}"
            lines.append(f"{name:<10} accuracy {accuracy.value:.2%}   95% interval {interval}   {size / 1e6:.2f} MB")
        change = f"{100 * self.paired.difference:+.2f} points ({100 * self.paired.low:+.2f} to {100 * self.paired.high:+.2f})"
        return "\n".join([*lines, f"change     {change}; {self.speed:.1f} times as fast on one thread of this machine"])


def quantize(
    model: str | Path,
    data: FaceSet | DataSource | str | Path,
    out: str | Path,
    faces: int = 1024,
    labels: dict[str, list[str]] | None = None,
    quiet: bool = False,
) -> Quantized:
    """Write a model file in int8, a quarter of its size and faster on most CPUs, and measure it beside the original.

    Args:
        model: a model file, a run folder, a name that `mien models` lists, or hf:owner/name on the Hugging Face hub.
        data: labelled faces: what the ranges of its activations are learned from (training rows where there are some), and
            what both are measured on (validation rows, else test rows, else the same).
        out: the model file to write.
        faces: how many faces to learn the ranges from.
        labels: labels of the data to merge or rename, as for `evaluate`.
        quiet: no progress on stderr.

    Raises:
        MienError: if the model is in int8 already, or the data do not fit it; the sentence says what to do.
    """
    require("train", "onnx", "sklearn", "scipy")
    from mien.evaluation.label_match import match_labels, with_labels
    from mien.evaluation.mcnemar import mcnemar
    from mien.evaluation.model_fit import fit_to_model
    from mien.evaluation.proportion import proportion
    from mien.inference.classifier import Classifier
    from mien.training.quantization import quantize as write_int8
    from mien.training.trained_run import QUANTIZED

    if faces < 1:
        raise MienError(f"The ranges are learned from at least 1 face, not {faces}.")
    if Path(out).suffix.lower() != ".onnx":
        raise MienError(f"A model file ends in .onnx; name --out so, not {str(out)!r}.")
    original = Classifier(model, head="label", threads=1)
    if Path(out).exists() and Path(out).samefile(original.path):
        raise MienError(f"{str(out)!r} is the model itself; give --out another name.")
    if kind := original.metadata.get(QUANTIZED):
        raise MienError(f"{str(original.path)!r} is in {kind} already; give the float32 model that it was made from.")
    given = read_data(data, original.size, original.channels, quiet)
    given = with_labels(given, labels, original.labels) if labels else given
    rows = fit_to_model(original.metadata.get("mien.recipe", ""), original.labels, given)
    known = rows.split("train") if "train" in rows.split_names else rows
    split = next((name for name in ("validation", "test") if name in rows.split_names), rows.split_names[0])
    measured = rows.split(split)
    truth = match_labels(original.labels, measured, labels).argmax(axis=1)
    chosen = np.random.default_rng(0).permutation(len(known))[:faces]
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_int8(original.path, known.images[np.sort(chosen)], original.metadata, Path(out))
    small = Classifier(out, head="label", threads=1)
    right = [each.predict_proba(measured.images).argmax(axis=1) == truth for each in (original, small)]
    slow, fast = (_seconds(each, measured.images[:TIMED]) for each in (original, small))
    return Quantized(
        out=Path(out),
        split=split,
        accuracies=(proportion(int(right[0].sum()), len(truth)), proportion(int(right[1].sum()), len(truth))),
        paired=mcnemar(*right),
        sizes=(original.path.stat().st_size, Path(out).stat().st_size),
        speed=slow / fast,
    )


def _seconds(classifier: "Classifier", faces: np.ndarray) -> float:
    """Time one face at a time; the median, for a machine that does other things too."""
    times = []
    for face in faces:
        start = time.perf_counter()
        classifier.predict_proba(face[None])
        times.append(time.perf_counter() - start)
    return float(np.median(times))
