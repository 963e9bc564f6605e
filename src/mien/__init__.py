"""Facial-expression classification: labelled faces in, one model file, a report people can trust, answers about photos.

Everything public is a name of this module and loads when it is first used, so that `import mien` takes milliseconds.
"""

import os
import re
from importlib import import_module
from pathlib import Path

__version__ = "0.1.0"

# ONNX Runtime would report its use to its maker over the network; mien sends nothing anywhere. Set it to 0 to let it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_NAMES = re.findall(r"(?m)^from (\S+) import (\([^)]*\)|.+)", Path(__file__).with_suffix(".pyi").read_text("utf-8"))
_HOME = {name: module for module, names in _NAMES for name in re.findall(r"\w+(?= as )", names)}

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
