"""The public names of mien, each with its module; `__init__.py` reads them here too."""

from mien.data.faceset import FaceSet as FaceSet
from mien.data.source import DataSource as DataSource
from mien.drawn import draw_face as draw_face, draw_faces as draw_faces
from mien.errors import MienError as MienError
from mien.evaluation.report import Report as Report
from mien.inference.classifier import Classifier as Classifier
from mien.inference.drawing import annotate as annotate
from mien.inference.explanation import explain as explain
from mien.inference.pipeline import predict as predict
from mien.inference.prediction import (
    Frame as Frame,
    Prediction as Prediction,
    Predictions as Predictions,
    to_dataframe as to_dataframe,
)
from mien.labels import FER2013 as FER2013, FERPLUS as FERPLUS, LabelSet as LabelSet
from mien.training.recipe import Recipe as Recipe, load_recipe as load_recipe
from mien.verbs import read_faces as read_faces
from mien.verbs.crop import crop as crop
from mien.verbs.publish import push as push, quantize as quantize
from mien.verbs.train import audit as audit, compare as compare, evaluate as evaluate, train as train

__version__: str
__all__: list[str]
