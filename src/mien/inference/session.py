"""A model file opened in ONNX Runtime: what it runs on, and what is said where it cannot be opened."""

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from mien.errors import MienError

_logger = logging.getLogger("mien")

UNFINISHED = ("last.ckpt", "recipe.yaml")
"""Files of which a run folder holds one before its model."""


def open_session(path: Path, providers: Sequence[str] | None, threads: int | None) -> Any:
    """Open a model file.

    Args:
        path: the file.
        providers: as for `mien.Classifier`.
        threads: as for `mien.Classifier`.

    Returns:
        The onnxruntime.InferenceSession.

    Raises:
        MienError: if it is no model file, or ONNX Runtime lacks a provider.
    """
    if threads is not None and threads < 1:
        raise MienError(f"The number of threads must be at least 1, not {threads}.")
    chosen = _choose_providers(providers, onnxruntime.get_available_providers())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: its warnings about graphs are of no use to a user
    options.intra_op_num_threads = threads or _default_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=chosen)
    except Exception as error:  # ONNX Runtime's errors share no public base class
        raise MienError(_why_not(path, error)) from None


def _choose_providers(wanted: Sequence[str] | None, available: list[str]) -> list[str]:
    short = {name.removesuffix("ExecutionProvider").lower(): name for name in available}
    if not wanted:  # TensorRT would build an engine for minutes, Azure calls a web service: only where they are asked for
        return [short[name] for name in ("cuda", "coreml", "cpu") if name in short]
    names = [name.removesuffix("ExecutionProvider").lower() for name in wanted]
    if unknown := [name for name in names if name not in short]:
        raise MienError(f"ONNX Runtime has no provider {unknown[0]!r} here; it has {', '.join(short)}.")
    return [short[name] for name in names]


def _default_threads() -> int:
    """Choose 0, by which ONNX Runtime takes one for each physical core, unless this process may use fewer."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if allowed == os.cpu_count() else allowed


def _why_not(path: Path, error: Exception) -> str:
    """Say why a file is no model, and what to give instead; ONNX Runtime's own words are about its source code."""
    _logger.debug("ONNX Runtime on %s: %s", path, error)
    name, run = repr(str(path)), path.parent
    if not os.access(path, os.R_OK):
        return f"The model file {name} may not be read; change its permissions, or give another."
    if re.search(r"unsupported model ir version|opset \d+ is under development", str(error), re.IGNORECASE):
        return f"{name} was written for a newer ONNX Runtime; `pip install -U onnxruntime`."
    if path.suffix.lower() == ".onnx":
        return f"{name} is damaged or no ONNX file; copy it again, or give a run folder or its model.onnx."
    if (run / "model.onnx").is_file():
        return f"{name} is not the model of its run; give the run folder {str(run)!r} or its model.onnx."
    if any((run / file).is_file() for file in UNFINISHED):
        return (
            f"{name} is of a run that is not finished; finish it with its `mien train ...` and --resume, then give its folder."
        )
    return f"{name} is no model file; give a run folder, its model.onnx, or a name that `mien models` lists."
