"""The model file opened: faces in, probabilities out."""

import difflib
import json
import logging
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from mien.errors import MienError
from mien.images import ImageSource, prepare, read_image
from mien.labels import LabelSet

# Models on the Hugging Face hub: a name such as hf:owner/name becomes a file in the hub's own cache.

PREFIX = "hf:"
"""What a model's name on the hub begins with, so that it is taken for no path."""

FILE = "model.onnx"
"""The file of a repository that is fetched, as `mien push` names it."""

ANSWER_TIMEOUT = 10.0
"""Seconds to wait for the hub's answer; its client alone would try for half a minute where there is no network."""

_logger = logging.getLogger("mien")


def is_on_hub(model: str | Path) -> bool:
    """Tell whether a model's name is one on the hub."""
    return str(model).startswith(PREFIX)


def fetch_model(name: str) -> Path:
    """Give the place of a model file in the hub's cache, and download it first if it is not there, or not the newest.

    Where the hub cannot be reached, what an earlier download left in the cache is taken, and a line says so.

    Args:
        name: hf:owner/name, or hf:owner/name@revision with a branch, a tag or a commit.

    Raises:
        MienError: if the name is no such name, huggingface_hub is not installed, the hub has no such repository, revision or
            file, or it can be had neither from the hub nor from the cache.
    """
    parts = re.fullmatch(rf"{PREFIX}([\w.-]+/[\w.-]+)(?:@(\S+))?", name)
    if parts is None:
        raise MienError(f"{name!r} names no model on the hub; write hf:owner/name, or hf:owner/name@revision.")
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise MienError(
            f"{name!r} lies on the hub, and huggingface_hub is not installed; run: pip install 'mien[hub]'"
        ) from None
    place: dict[str, Any] = {"repo_id": parts[1], "filename": FILE, "revision": parts[2]}
    try:
        # asked once before the download, which would ask again and again where there is no network
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(**place), timeout=ANSWER_TIMEOUT)
    except Exception as problem:  # the hub's client lets errors of whichever HTTP library it uses through
        if says := _refusal(problem, parts[1], parts[2]):
            raise MienError(says) from None
        return _cached(name, place, problem)
    try:
        return Path(huggingface_hub.hf_hub_download(**place))
    except Exception as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            raise  # of this machine's disk, not of the hub
        raise MienError(f"{name} could not be fetched ({_first_line(problem)}); try again.") from None


def _refusal(problem: Exception, repository: str, revision: str | None) -> str:
    """Say what the hub has not, or does not give; empty where it was not reached."""
    from huggingface_hub import errors as hub

    if isinstance(problem, hub.GatedRepoError):
        return f"The hub gives {repository!r} only to those who were let in; ask on its page, then log in with `hf auth login`."
    if isinstance(problem, hub.RepositoryNotFoundError):
        return f"The hub has no model {repository!r}, or hides it; check owner and name, or log in with `hf auth login`."
    if isinstance(problem, hub.RevisionNotFoundError):
        return f"The model {repository!r} on the hub has no revision {revision!r}; check it, or leave out @{revision}."
    if isinstance(problem, hub.EntryNotFoundError):
        return f"{repository!r} on the hub holds no {FILE}, so it is no model of mien's; `mien push` makes one that does."
    if isinstance(problem, hub.HFValidationError):
        return f"The hub has no names such as {repository!r}; write hf:owner/name."
    return ""


def _cached(name: str, place: dict[str, Any], problem: Exception) -> Path:
    import huggingface_hub

    reason = _first_line(problem)
    try:
        path = Path(huggingface_hub.hf_hub_download(**place, local_files_only=True))
    except FileNotFoundError:
        raise MienError(
            f"The hub could not be reached ({reason}), and {name} was not fetched before; "
            f"try again with a network, or get its {FILE} otherwise and give --model that path."
        ) from None
    _logger.warning("mien: the hub could not be reached (%s); taking %s as it was fetched before", reason, name)
    return path


def _first_line(problem: Exception) -> str:
    lines = str(problem).strip().splitlines() or [type(problem).__name__]
    return lines[0].rstrip(".: ")


# A model file opened in ONNX Runtime: what it runs on, and what is said where it cannot be opened.

_logger_session = logging.getLogger("mien")

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
    _logger_session.debug("ONNX Runtime on %s: %s", path, error)
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


DEFAULT_MODEL = "mien-s"
MODELS = Path(__file__).parent.parent / "models"
"""The embedded models: one .onnx file each, its card beside it."""

HEADS = {"label": "probabilities", "crowd": "crowd_probabilities"}
"""What a model may answer as, by the name of its graph's output: as the data set's label, as FER+'s crowd of ten voters."""

FORMATS = {"1": ("label",), "2": ("label", "crowd")}
"""The versions of the metadata that this code reads, and the heads of a model of each, in the order of its outputs."""


def embedded_models() -> list[str]:
    """List the names of the models that come with mien."""
    return sorted(path.stem for path in MODELS.glob("*.onnx"))


def find_model(model: str | Path = DEFAULT_MODEL) -> Path:
    """Find a model file.

    Args:
        model: the path of an .onnx file, a run folder with a model.onnx in it, the name of an embedded model, or of one on the
            Hugging Face hub: hf:owner/name.

    Raises:
        MienError: if there is none; the sentence names the nearest ones there are.
    """
    path = fetch_model(str(model)) if is_on_hub(model) else Path(model).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        if (path / "model.onnx").is_file():
            return path / "model.onnx"
        if any((path / name).is_file() for name in UNFINISHED):
            raise MienError(f"The run in {str(path)!r} is not finished; finish it with its `mien train ...` and --resume.")
        raise MienError(f"There is no model.onnx in the folder {str(path)!r}; a run that has finished leaves one there.")
    names = embedded_models()
    if str(model) in names:
        return MODELS / f"{model}.onnx"
    if path.suffix or len(path.parts) != 1:
        raise MienError(
            f"There is no model file {str(model)!r}; check the path, or use a name: {', '.join(names) or 'none here'}."
        )
    near = difflib.get_close_matches(str(model), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise MienError(f"There is no model {str(model)!r}; there are {', '.join(names) or 'none embedded here'}.{hint}")


class Classifier:
    """A model file, run by ONNX Runtime. One may be used from many threads at once.

    Args:
        model: the path of a model file, a run folder, or the name of an embedded model.
        providers: what ONNX Runtime shall run on, best first ("cuda", "coreml", "cpu", or its own long names); without them,
            the first of these three that it has here.
        threads: threads for one call; without it, one for each physical core that this process may use.
        head: which of the model's heads answers: "label" as the data set's label, "crowd" as a crowd of ten voters would;
            without it, the crowd where the model has it, else the label.

    Attributes:
        path: the model file.
        heads: the names of its heads, ("label",) or ("label", "crowd").
        head: the one that answers.
        labels: the label names, in the order of the probabilities.
        size: height and width of its faces in pixels.
        channels: 1 for gray, 3 for RGB.
        parameters: number of trained parameters; 0 where the file does not say.
        metadata: all the text the file carries, by its keys.

    Raises:
        MienError: if there is no such model, it has no such head, or the file is not one of mien's.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        head: str | None = None,
    ) -> None:
        self.path = find_model(model)
        self._session = open_session(self.path, providers, threads)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        name = repr(str(self.path))
        if "mien.labels" not in self.metadata:
            raise MienError(
                f"{name} is an ONNX file, but not one of mien's: it names no labels. Give a model.onnx that mien wrote."
            )
        if (version := self.metadata.get("mien.format")) not in FORMATS:
            raise MienError(
                f"{name} has the format {version}, and this mien reads {' and '.join(FORMATS)}; install a newer mien."
            )
        self.heads = FORMATS[version]
        try:
            if (heads := json.loads(self.metadata.get("mien.heads", '["label"]'))) != list(self.heads):
                raise ValueError(f"heads {heads} in format {version}")
            self.labels = LabelSet(json.loads(self.metadata["mien.labels"]))
            self.size = int(self.metadata["mien.size"])
            self.channels = int(self.metadata["mien.channels"])
            self.parameters = int(self.metadata.get("mien.parameters") or 0)
        except (KeyError, ValueError, TypeError, MienError) as error:
            raise MienError(f"The metadata of {name} are damaged ({error}); export the model again.") from None
        self._check_graph(name)
        self.head = ("crowd" if "crowd" in self.heads else "label") if head is None else self._known(head)

    def _check_graph(self, name: str) -> None:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        dimensions = 3 if self.channels == 1 else 4
        found = [(value.name, value.type, len(value.shape)) for value in (*inputs, *outputs)]
        answers = [(HEADS[head], "tensor(float)", 2) for head in self.heads]
        if found != [("faces", "tensor(uint8)", dimensions), *answers]:
            raise MienError(f"{name} does not take uint8 faces to float probabilities, as mien's models do; export it again.")
        for output in outputs:
            if isinstance(columns := output.shape[1], int) and columns != len(self.labels):
                raise MienError(f"{name} names {len(self.labels)} labels but gives {columns} probabilities; export it again.")

    def _known(self, head: str) -> str:
        if head not in self.heads:
            raise MienError(f"The model {str(self.path)!r} has no head {head!r}; choose {' or '.join(self.heads)}.")
        return head

    def with_head(self, head: str) -> "Classifier":
        """Give a classifier that answers by another head of the same model; both share the opened file.

        Raises:
            MienError: if the model has no such head; the sentence names those it has.
        """
        import copy

        other = copy.copy(self)
        other.head = self._known(head)
        return other

    @property
    def face_shape(self) -> tuple[int, ...]:
        """The shape of one face: (size, size) or (size, size, 3)."""
        return (self.size, self.size) if self.channels == 1 else (self.size, self.size, 3)

    @property
    def providers(self) -> list[str]:
        """The execution providers in use."""
        return list(self._session.get_providers())

    def predict_proba(self, faces: np.ndarray, batch_size: int = 64) -> np.ndarray:
        """Classify faces that were prepared.

        Args:
            faces: uint8, (N, size, size) or (N, size, size, 3), as `mien.images.prepare` makes them.
            batch_size: faces a call of ONNX Runtime; memory grows with it.

        Returns:
            float32, (N, K), each row the probabilities of the labels by the chosen head; (0, K) for no faces.

        Raises:
            MienError: if the faces have another type or shape.
        """
        if not isinstance(faces, np.ndarray) or faces.dtype != np.uint8 or faces.shape[1:] != self.face_shape:
            shown = f"{faces.dtype} {faces.shape}" if isinstance(faces, np.ndarray) else type(faces).__name__
            wanted = ", ".join(str(side) for side in self.face_shape)
            raise MienError(f"{self.path.name} takes uint8 faces (N, {wanted}), not {shown}; classify() prepares any face.")
        if batch_size < 1:
            raise MienError(f"The batch size must be at least 1, not {batch_size}.")
        if 0 < len(faces) <= batch_size:
            return self._run(faces)
        probabilities = np.empty((len(faces), len(self.labels)), dtype=np.float32)
        for start in range(0, len(faces), batch_size):
            probabilities[start : start + batch_size] = self._run(faces[start : start + batch_size])
        return probabilities

    def _run(self, faces: np.ndarray) -> np.ndarray:
        probabilities: np.ndarray = self._session.run([HEADS[self.head]], {"faces": faces})[0]
        return probabilities

    def classify(self, faces: ImageSource | Iterable[ImageSource], batch_size: int = 64) -> np.ndarray:
        """Classify images that show a face each and nothing else; no face is looked for.

        Args:
            faces: one image or several, of any size: paths, bytes, Pillow images or arrays. An array (N, H, W) or
                (N, H, W, 3) is several; (H, W) and (H, W, 3) are one.
            batch_size: as for `predict_proba`.

        Returns:
            float32, (K,) for one image, (N, K) for several.

        Raises:
            MienError: if an image cannot be read.
        """
        if isinstance(faces, np.ndarray):
            several = faces.ndim > 3 or (faces.ndim == 3 and faces.shape[2] not in (1, 3, 4))
        else:
            several = not isinstance(faces, ImageSource)
        images: Any = faces if several else [faces]
        batches, batch = [np.empty((0, len(self.labels)), dtype=np.float32)], []
        for image in images:
            batch.append(prepare(read_image(image), self.size, self.channels))
            if len(batch) == batch_size:
                batches.append(self.predict_proba(np.stack(batch), batch_size))
                batch = []
        if batch:
            batches.append(self.predict_proba(np.stack(batch), batch_size))
        probabilities = np.concatenate(batches)
        return probabilities if several else probabilities[0]


# The embedded models, with what they tell of themselves.


def describe_models() -> str:
    """Write for every embedded model its size, what it takes and answers, its heads where it has two, and its card."""
    lines = []
    width = max(map(len, embedded_models())) + 2
    for name in embedded_models():
        model = Classifier(name)
        kind = f"{model.size} px, {'gray' if model.channels == 1 else 'colour'}"
        megabytes = model.path.stat().st_size / 1e6
        lines.append(f"{name:<{width}}{megabytes:.1f} MB  {model.parameters:,} parameters  {kind}  {', '.join(model.labels)}")
        if len(model.heads) > 1:
            lines.append(f"{'':<{width}}heads: {', '.join(model.heads)} (--head; {model.head} answers where none is named)")
        lines.append(f"{'':<{width}}card: {model.path.with_suffix('.md')}")
    return "\n".join(lines)
