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
    from mien.data.faceset import FaceSet as FaceSet
    from mien.data.source import DataSource as DataSource
    from mien.drawn import draw_face as draw_face
    from mien.drawn import draw_faces as draw_faces
    from mien.errors import MienError as MienError
    from mien.evaluation.report import Report as Report
    from mien.inference.classifier import Classifier as Classifier
    from mien.inference.explanation import explain as explain
    from mien.inference.output import to_dataframe as to_dataframe
    from mien.inference.pipeline import predict as predict
    from mien.inference.prediction import Frame as Frame
    from mien.inference.prediction import Prediction as Prediction
    from mien.labels import FER2013 as FER2013
    from mien.labels import FERPLUS as FERPLUS
    from mien.labels import LabelSet as LabelSet
    from mien.training.recipe import Recipe as Recipe
    from mien.training.recipe import load_recipe as load_recipe
    from mien.verbs import read_faces as read_faces
    from mien.verbs.crop import crop as crop
    from mien.verbs.evaluate import audit as audit
    from mien.verbs.evaluate import compare as compare
    from mien.verbs.evaluate import evaluate as evaluate
    from mien.verbs.publish import push as push
    from mien.verbs.publish import quantize as quantize
    from mien.verbs.train import train as train

_NAMES = {
    "mien.data.faceset": "FaceSet",
    "mien.data.source": "DataSource",
    "mien.drawn": "draw_face draw_faces",
    "mien.errors": "MienError",
    "mien.evaluation.report": "Report",
    "mien.inference.classifier": "Classifier",
    "mien.inference.explanation": "explain",
    "mien.inference.output": "to_dataframe",
    "mien.inference.pipeline": "predict",
    "mien.inference.prediction": "Frame Prediction",
    "mien.labels": "FER2013 FERPLUS LabelSet",
    "mien.training.recipe": "Recipe load_recipe",
    "mien.verbs": "read_faces",
    "mien.verbs.crop": "crop",
    "mien.verbs.evaluate": "audit compare evaluate",
    "mien.verbs.publish": "push quantize",
    "mien.verbs.train": "train",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *_HOME]


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
