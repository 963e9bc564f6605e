"""The page that finds and classifies faces in the browser: static files, of which the model's are made from its metadata."""

import json
import shutil
from pathlib import Path
from typing import Any

from PIL import Image

from mien import __version__
from mien.drawn import draw_photo
from mien.errors import load_table
from mien.files import FolderKind
from mien.inference import detection
from mien.inference.classifier import HEADS, MODELS, UNSURE, Classifier
from mien.inference.drawing import COLOURS
from mien.inference.model_file import MODEL_FILE, sha256
from mien.inference.pipeline import SMOOTHING
from mien.inference.prediction import columns

PAGE = FolderKind("page.json", "page", "mien page")
SMALL_MODEL = "mien-s-int8"  # a third of mien-s's size
FILES = Path(__file__).with_name("page")
LICENCE = "Apache-2.0"  # of the embedded models


def write_page(out: Path, model: str | Path | None = None) -> list[str]:
    """Write the page into a folder, which any web server can serve as it is.

    Args:
        out: an empty folder, or none.
        model: a model file, run folder or name of a model; by default mien-s-int8.

    Returns:
        The names of the files.

    Raises:
        MienError: if the model cannot be opened.
    """
    classifier = Classifier(model or SMALL_MODEL, threads=1)
    shutil.copytree(FILES, out, dirs_exist_ok=True, copy_function=shutil.copyfile)
    models = out / "models"
    models.mkdir()
    shutil.copyfile(classifier.path, models / "classifier.onnx")
    shutil.copyfile(detection.YUNET, models / "yunet.onnx")
    shutil.copyfile(detection.YUNET.with_name("yunet.LICENSE.txt"), models / "yunet.LICENSE.txt")
    _write_json(models / "model.json", describe(classifier))
    Image.fromarray(draw_photo(["happy", "surprise", "sad"], 4, 960, 600)[0]).save(out / "example.jpg", quality=88)
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    _write_json(out / PAGE.record, {"made_by": PAGE.made_by, "format": PAGE.format, "files": [PAGE.record, *files]})
    return [PAGE.record, *files]


def model_name(model: Path) -> str:
    """Name a model after its run folder, its repository on the hub, or its file."""
    if model.name != MODEL_FILE:
        return model.stem
    folder = model.parent.resolve()
    is_cached = folder.parent.name == "snapshots"  # of the hub's cache: models--OWNER--NAME/snapshots/REVISION
    return folder.parents[1].name.rpartition("--")[2] if is_cached else folder.name


def describe(classifier: Classifier) -> dict[str, Any]:
    """Return what the page needs to know of a model; it has all else in its graph, such as mean and standard deviation."""
    heads = {}
    for head in classifier.heads:
        shares = classifier.training_priors.get(head)
        prior = classifier.with_head(head).prior  # its default: "training", or a power
        power = prior if isinstance(prior, float) else 0.0
        heads[head] = {"output": HEADS[head], "training": None if shares is None else shares.tolist(), "power": power}
    return {
        "name": model_name(classifier.path),
        "file": "classifier.onnx",
        "sha256": sha256(classifier.path),
        "version": __version__,
        "licence": LICENCE if classifier.path.parent == MODELS else "",
        "labels": classifier.labels.names,
        "colours": COLOURS,
        "size": classifier.size,
        "channels": classifier.channels,
        "heads": heads,
        "head": classifier.head,
        "threshold": UNSURE,
        "smoothing": SMOOTHING,
        "search": load_table(detection.__file__),
        "framing": detection.YUNET_FRAMING._asdict(),
        "columns": columns(classifier.labels),
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
