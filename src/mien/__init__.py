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
    from mien.drawn import draw_face as draw_face, draw_faces as draw_faces
    from mien.errors import MienError as MienError
    from mien.evaluation.report import Report as Report
    from mien.inference.classifier import Classifier as Classifier
    from mien.inference.explanation import explain as explain
    from mien.inference.output import to_dataframe as to_dataframe
    from mien.inference.pipeline import predict as predict
    from mien.inference.prediction import Frame as Frame, Prediction as Prediction
    from mien.labels import FER2013 as FER2013, FERPLUS as FERPLUS, LabelSet as LabelSet
    from mien.training.recipe import Recipe as Recipe, load_recipe as load_recipe
    from mien.verbs import read_faces as read_faces
    from mien.verbs.crop import crop as crop
    from mien.verbs.publish import push as push, quantize as quantize
    from mien.verbs.train import audit as audit, compare as compare, evaluate as evaluate, train as train

_PLACES = """
data.faceset.FaceSet  data.source.DataSource  drawn.draw_face  drawn.draw_faces  errors.MienError  evaluation.report.Report
inference.classifier.Classifier  inference.explanation.explain  inference.output.to_dataframe  inference.pipeline.predict
inference.prediction.Frame  inference.prediction.Prediction  labels.FER2013  labels.FERPLUS  labels.LabelSet
training.recipe.Recipe  training.recipe.load_recipe  verbs.read_faces  verbs.crop.crop  verbs.train.audit
verbs.train.compare  verbs.train.evaluate  verbs.publish.push  verbs.publish.quantize  verbs.train.train
"""
_HOME = {name: f"mien.{module}" for module, _, name in (place.rpartition(".") for place in _PLACES.split())}

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
