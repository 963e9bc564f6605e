"""Model files of the user's: fetch them from the hub, and try each in a child process, as a crafted one can run for ever."""

import hashlib
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime

from mien import __version__
from mien.errors import LOGGER, MienError, first_line, load_table
from mien.files import cache_folder

MODEL_FILE = "model.onnx"  # name of the model in a run folder and in a repository on the hub
UNFINISHED = ("last.ckpt", "recipe.yaml")  # files of a run folder that exist before its model does
ON_HUB = "hf:"  # how the names of models on the Hugging Face hub begin
EXTERNAL = b"\n\x08location\x12"  # in the file: how the entry of an array begins that says in which other file it is
TOO_SLOW = 24  # SIGXCPU, which ends a process that has used its CPU time
TABLES = load_table(__file__)
_LIMITS = SimpleNamespace(**TABLES["limits"])
_passed: set[str] = set()  # keys of the files that this process need not check


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_model(name: str) -> Path:
    """Download hf:owner/name or hf:owner/name@revision into the hub's cache, if it is missing or outdated there."""
    parts = re.fullmatch(rf"{ON_HUB}([\w.-]+/[\w.-]+)(?:@(\S+))?", name)
    if parts is None:
        raise MienError(f"{name!r} is not a model name of the hub; write hf:owner/name, or hf:owner/name@revision.")
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise MienError(f"{name!r} needs huggingface_hub, which is not installed; run: pip install 'mien[hub]'") from None
    location: dict[str, Any] = {"repo_id": parts[1], "filename": MODEL_FILE, "revision": parts[2]}
    try:
        # one request before the download, which would retry again and again without a network
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(**location), timeout=_LIMITS.hub_timeout)
    except Exception as problem:  # the client passes on the errors of whichever HTTP library it uses
        ancestors = [kind.__name__ for kind in type(problem).__mro__]
        if refusal := next((text for kind, text in TABLES["hub"].items() if kind in ancestors), ""):
            raise MienError(refusal.format(id=parts[1], revision=parts[2])) from None
        reason = first_line(problem)
        path = huggingface_hub.try_to_load_from_cache(parts[1], MODEL_FILE, revision=parts[2])
        if not isinstance(path, str):
            raise MienError(TABLES["no network"].format(reason, name)) from None
        LOGGER.warning("mien: the hub could not be reached (%s); using the cached %s", reason, name)
        return Path(path)
    try:
        return Path(huggingface_hub.hf_hub_download(**location))
    except Exception as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            raise  # an error of the local disk
        raise MienError(f"{name} could not be fetched ({first_line(problem)}); try again.") from None


def check_file(path: Path, opener: Callable[[Path], object]) -> None:
    """Raise a MienError unless a child process with limits opens a model file; what passed is remembered by its SHA-256."""
    name, size = repr(str(path)), path.stat().st_size
    if size > _LIMITS.largest:
        raise MienError(f"{name} has {size / 1e9:.1f} GB, more than a model file can have; give a {MODEL_FILE} of mien.")
    key = f"{sha256(path)}-{opener.__name__}-{__version__}-{onnxruntime.__version__}"
    with suppress(MienError, OSError):  # without a cache folder, each process checks the file
        if (cache_folder() / "models" / key).exists():
            _passed.add(key)
    if key in _passed:
        return
    import mmap  # only here: embedded models open faster
    import subprocess

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(EXTERNAL) >= 0:
            raise MienError(f"{name} keeps weights in other files; make one file of it: onnx.save(onnx.load(FILE), NEW_FILE)")
    seconds, memory = round(_LIMITS.seconds + size * _LIMITS.seconds_per_byte), _LIMITS.memory + size * _LIMITS.memory_per_byte
    call = f"run_limited({opener.__name__}, {str(path)!r}, {key!r}, {seconds}, {memory})"
    command = f"from {opener.__module__} import {opener.__name__}; from {__name__} import run_limited; {call}"
    settings = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), "OMP_NUM_THREADS": "1"}
    words, status, told = [sys.executable or "", "-c", command], 1, ""
    try:
        if not hasattr(sys, "frozen"):  # a program without a Python that could be started
            run = subprocess.run(words, env=settings, capture_output=True, timeout=_LIMITS.patience * seconds, check=False)
            status, told = run.returncode, run.stdout.decode(errors="replace").strip().rpartition("\n")[2]
    except subprocess.TimeoutExpired:
        status = -TOO_SLOW
    except OSError as problem:
        LOGGER.debug("no child process: %s", problem)
    if status not in (0, 1):
        raise MienError(told or TABLES["slow" if status == -TOO_SLOW else "crash"].format(name, seconds))
    _passed.add(key)
    if status == 1:  # no child process could be started
        opener(path)
    with suppress(MienError, OSError):
        (cache_folder() / "models").mkdir(exist_ok=True)
        (cache_folder() / "models" / key).touch()


def run_limited(opener: Callable[[Path], object], path: str, key: str, seconds: int, memory: int) -> None:
    """Open a model file in this process with limits on CPU time and memory, print what is wrong with it, and exit."""
    _passed.add(key)
    with suppress(ImportError, ValueError, OSError):  # on Windows; or a lower limit is in force
        import resource

        for limit, value in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory)):
            resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))
    try:
        opener(Path(path))
    except Exception as error:
        problem = str(error) if isinstance(error, MienError) else f"{path!r} cannot be used ({first_line(error)})."
        sys.stdout.buffer.write(problem.encode(errors="backslashreplace"))
        sys.stdout.flush()
        os._exit(2)
    os._exit(0)  # at once: ONNX Runtime may crash while it cleans up


def open_error(path: Path, error: str) -> str:
    """Explain why a file cannot be opened."""
    name, run = repr(str(path)), path.parent
    if not os.access(path, os.R_OK):
        return f"The model file {name} cannot be read; change its permissions, or give another."
    for pattern, sentence in TABLES["errors"].items():
        if found := re.search(pattern, error):
            return str(sentence.format(*found.groups(), name=name))
    if path.suffix.lower() == ".onnx":
        with path.open("rb") as file:
            start = file.read(200).lstrip().decode("latin-1")
        return f"{name} is {next(kind for beginning, kind in TABLES['contents'].items() if re.match(beginning, start))}."
    if (run / MODEL_FILE).is_file():
        return f"{name} is not the model of its run; give the run folder {str(run)!r} or its {MODEL_FILE}."
    if any((run / file).is_file() for file in UNFINISHED):
        return f"{name} is of an unfinished run; finish it with its `mien train ...` and --resume, then give its folder."
    return f"{name} is no model file; give a run folder, its {MODEL_FILE}, or a name that `mien models` lists."
