import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from mien.data.faceset import FaceSet
from mien.labels import LabelSet

LABELS = LabelSet(("happy", "sad", "neutral"))


class DrawnClassifier:
    """Reads its answer off a face's first pixels, so that a test decides what it says about which face."""

    def __init__(self, path: Path, labels: LabelSet = LABELS, metadata: dict[str, str] | None = None) -> None:
        path.write_bytes(b"a model file")
        self.path, self.labels, self.metadata = path, labels, metadata or {}
        self.size, self.channels, self.parameters = 8, 1, 1234
        self.batches: list[int] = []

    def predict_proba(self, faces: np.ndarray) -> np.ndarray:
        self.batches.append(len(faces))
        return faces[:, 0, : len(self.labels)].astype(np.float32) / 100


@pytest.fixture
def model(tmp_path):
    return DrawnClassifier(tmp_path / "model.onnx")


@pytest.fixture
def answered():
    """Make faces whose answers are given in percent: (percents, true classes, ...) to FaceSet."""

    def make(percents, classes, labels=LABELS, **options):
        images = np.full((len(percents), 8, 8), 128, dtype=np.uint8)
        for image, row in zip(images, percents, strict=True):
            image[0, : len(row)] = row
        return FaceSet.from_arrays(images, classes, labels, **options)

    return make


@pytest.fixture
def eight(answered):
    """Eight faces: 3 happy (2 found), 4 sad (2 found), 1 neutral (found)."""
    percents = [
        (80, 10, 10), (60, 30, 10), (20, 70, 10),
        (10, 80, 10), (30, 50, 20), (90, 5, 5), (10, 20, 70),
        (0, 40, 60),
    ]  # fmt: skip
    return answered(percents, [0, 0, 0, 1, 1, 1, 1, 2], ids=[f"face {i}" for i in range(8)])


@pytest.fixture
def model_trained_on(tmp_path):
    def make(fingerprint, path="faces"):
        note = {"kind": "folder", "path": path, "train_fingerprint": fingerprint, "train_count": 8, "validation_count": 2}
        metadata = {
            "mien.version": "0.0.9",
            "mien.temperature": "1.25",
            "mien.data": json.dumps(note),
            "mien.recipe": "epochs: 3",
        }
        return DrawnClassifier(tmp_path / "noted.onnx", metadata=metadata)

    return make


@pytest.fixture
def model_digest():
    return hashlib.sha256(b"a model file").hexdigest()
