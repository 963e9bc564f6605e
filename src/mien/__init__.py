"""Facial-expression classification: labelled faces in, one model file, a report people can trust, answers about photos.

Everything public is a name of this module and loads when it is first used, so that `import mien` takes milliseconds.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# ONNX Runtime would report its use to its maker over the network; mien sends nothing anywhere. Set it to 0 to let it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from mien.data.faceset import FaceSet
    from mien.data.reading import read_faces
    from mien.data.source import DataSource
    from mien.drawn import draw_face, draw_faces
    from mien.errors import MienError
    from mien.evaluation.report import Report
    from mien.inference.classifier import Classifier
    from mien.inference.explanation import explain
    from mien.inference.output import to_dataframe
    from mien.inference.pipeline import predict
    from mien.inference.prediction import Frame, Prediction
    from mien.labels import FER2013, FERPLUS, LabelSet
    from mien.training.recipe import Recipe, load_recipe
    from mien.verbs.evaluate import audit, compare, evaluate
    from mien.verbs.publish import push, quantize
    from mien.verbs.train import train

_HOME = {
    "Classifier": "mien.inference.classifier",
    "DataSource": "mien.data.source",
    "FER2013": "mien.labels",
    "FERPLUS": "mien.labels",
    "FaceSet": "mien.data.faceset",
    "Frame": "mien.inference.prediction",
    "LabelSet": "mien.labels",
    "MienError": "mien.errors",
    "Prediction": "mien.inference.prediction",
    "Recipe": "mien.training.recipe",
    "Report": "mien.evaluation.report",
    "audit": "mien.verbs.evaluate",
    "compare": "mien.verbs.evaluate",
    "draw_face": "mien.drawn",
    "draw_faces": "mien.drawn",
    "evaluate": "mien.verbs.evaluate",
    "explain": "mien.inference.explanation",
    "load_recipe": "mien.training.recipe",
    "predict": "mien.inference.pipeline",
    "push": "mien.verbs.publish",
    "quantize": "mien.verbs.publish",
    "read_faces": "mien.data.reading",
    "to_dataframe": "mien.inference.output",
    "train": "mien.verbs.train",
}

__all__ = [
    "FER2013",
    "FERPLUS",
    "Classifier",
    "DataSource",
    "FaceSet",
    "Frame",
    "LabelSet",
    "MienError",
    "Prediction",
    "Recipe",
    "Report",
    "__version__",
    "audit",
    "compare",
    "draw_face",
    "draw_faces",
    "evaluate",
    "explain",
    "load_recipe",
    "predict",
    "push",
    "quantize",
    "read_faces",
    "to_dataframe",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"mien has no {name!r}; it has {', '.join(__all__)}")
    try:
        return getattr(import_module(_HOME[name]), name)
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("mien"):
            raise
        raise ImportError(f"mien.{name} needs {missing.name}, which is not installed; run: pip install 'mien[train]'") from None


def __dir__() -> list[str]:
    return __all__
