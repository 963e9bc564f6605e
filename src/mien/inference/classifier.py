"""An open model file: find it, run it by ONNX Runtime, faces in, probabilities out."""

import copy
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from numbers import Real
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime

from mien.errors import LOGGER, MienError, check_number, first_line, shortened, suggestion
from mien.images import ImageSource, prepare, read_image
from mien.inference.model_file import MODEL_FILE, ON_HUB, TABLES, UNFINISHED, check_file, fetch_model, open_error
from mien.inputs import parse_yaml
from mien.labels import LabelMap, LabelSet, move_shares

DEFAULT_MODEL = "mien-s"
MODELS = Path(__file__).parent.parent / "models"  # folder of the embedded models: one .onnx file each with its card

HEADS = {"label": "probabilities", "crowd": "crowd_probabilities"}  # the graph's output of each head
FORMATS = {"1": ("label",), "2": ("label", "crowd")}  # heads of each version of the metadata, in their order, the default last
Prior = float | str | Mapping[str, float]  # "training", "balanced", a power between these (0 and 1), or each label's share
PRIORS: Mapping[str, Prior] = TABLES["priors"]  # the default of each head
UNSURE = 0.6  # the lowest confidence, in steps of 0.05, above which 90% of predictions agree with most voters (docs/predict.md)
SUM_TOLERANCE = 1e-3  # of the sum of a face's probabilities; float32 with any order of summation stays below 1e-5


def embedded_models() -> list[str]:
    """List the names of the models that come with mien."""
    return sorted(path.stem for path in MODELS.glob("*.onnx"))


def usable_cores() -> int:
    """Count the CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_model(model: str | Path = DEFAULT_MODEL) -> Path:
    """Find a model file by its path, its run folder, or the name of an embedded model or of one on the hub (hf:owner/name)."""
    path = fetch_model(str(model)) if str(model).startswith(ON_HUB) else Path(model).expanduser()
    for file in (path, path / MODEL_FILE):
        if file.is_file():
            return file
    if path.is_dir():
        if any((path / name).is_file() for name in UNFINISHED):
            raise MienError(f"The run in {str(path)!r} is not finished; finish it with its `mien train ...` and --resume.")
        raise MienError(f"There is no {MODEL_FILE} in the folder {str(path)!r}; give the folder of a finished run.")
    names = embedded_models()
    if str(model) in names:
        return MODELS / f"{model}.onnx"
    known = ", ".join(names) or "none embedded here"
    if path.suffix or len(path.parts) != 1:
        raise MienError(f"There is no model file {str(model)!r}; check the path, or use a name: {known}.")
    hint = suggestion(str(model), names, phrase=" Did you mean {!r}?")
    raise MienError(f"There is no model {str(model)!r}; there are {known}.{hint}")


class Classifier:
    """A model file, run by ONNX Runtime; thread-safe. A pickle of it holds no weights: it opens the file again.

    Args:
        model: the path of a model file, a run folder, or the name of an embedded model.
        providers: execution providers of ONNX Runtime in order of preference ("cuda", "coreml", "cpu", or their full names);
            by default the available ones of these three.
        threads: threads per call; by default one for each physical core that this process may use.
        head: which of the model's heads to use: "label" for the label of the data set, "crowd" for the vote of a crowd of
            ten; by default the crowd if the model has it.
        prior: how often each label is expected: "training", "balanced", a power between these (0 and 1), or a share for each
            label, in any unit; by default "training" for the label head and 0.25 for the crowd head.

    Attributes:
        path: the model file.
        heads: names of its heads, ("label",) or ("label", "crowd").
        head: the head in use.
        prior: the prior in use; shares have a sum of 1.
        training_priors: for each head the shares of the labels in its training, (K,); empty if the file does not state them.
        labels: the label names, in the order of the probabilities.
        size: height and width of its faces in pixels.
        channels: 1 for gray, 3 for RGB.
        parameters: number of trained parameters; 0 if the file does not say.
        metadata: all metadata of the file.

    Raises:
        MienError: if there is no such model, head or prior, mien did not write the file, or it does not state its prior.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        head: str | None = None,
        prior: Prior | None = None,
    ) -> None:
        self.path: Path = find_model(model)
        self._session = _Session(self.path, providers, threads)
        self.metadata: dict[str, str] = self._session.metadata
        name = repr(str(self.path))
        if "mien.labels" not in self.metadata:
            raise MienError(f"{name} is an ONNX file, but not one of mien's: it has no labels. Give a {MODEL_FILE} of mien.")
        if (version := self.metadata.get("mien.format")) not in FORMATS:
            raise MienError(f"{name} has format {version}, and this mien reads {' and '.join(FORMATS)}; install a newer mien.")
        self.heads: tuple[str, ...] = FORMATS[version]
        try:
            values = {key: _metadata_value(self.metadata, key) for key in TABLES["fields"]}
            if values["heads"] != list(self.heads):
                raise ValueError(f"heads {values['heads']} in format {version}")
            self.labels: LabelSet = LabelSet(values["labels"])
            self._file_labels = self.labels
            self.size: int = values["size"]
            self.channels: int = values["channels"]
            self.parameters: int = values["parameters"]
            if self.channels == 2:
                raise ValueError("channels is 2")
            shares = {head: as_shares(values["prior"][head], self.labels) for head in self.heads if values["prior"]}
            self.training_priors: dict[str, np.ndarray] = shares
        except (KeyError, ValueError, TypeError, MienError) as error:
            raise MienError(f"The metadata of {name} are damaged ({str(error)[:200]}); export the model again.") from None
        self._new_index: tuple[int, ...] = tuple(range(len(self.labels)))  # of each label of the file, as of `LabelSet.merge`
        self._check_graph(name)
        self._set_head_and_prior(self.heads[-1] if head is None else head, prior)

    def __repr__(self) -> str:
        name = self.path.stem if self.path.parent == MODELS else str(self.path)
        prior = "shares" if isinstance(self.prior, Mapping) else self.prior
        colour = "gray" if self.channels == 1 else "RGB"
        return f"Classifier({name!r}, head={self.head}, prior={prior}, {len(self.labels)} labels, {self.size} px {colour})"

    def _check_graph(self, name: str) -> None:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        found = [(value.name, value.type, len(value.shape)) for value in (*inputs, *outputs)]
        expected = [(HEADS[head], "tensor(float)", 2) for head in self.heads]
        if found != [("faces", "tensor(uint8)", 1 + len(self.face_shape)), *expected]:
            raise MienError(f"{name} does not map uint8 faces to float probabilities, as mien's models do; export it again.")
        for output in outputs:
            if isinstance(columns := output.shape[1], int) and columns != len(self.labels):
                raise MienError(f"{name} names {len(self.labels)} labels but gives {columns} probabilities; export it again.")
        shape, own = inputs[0].shape, ("N", *self.face_shape)
        if any(isinstance(side, int) and side != wanted for side, wanted in zip(shape, own, strict=True)):
            raise MienError(f"{name} takes faces {tuple(shape)}, but its metadata say {own}; export it again.")

    def with_head(self, head: str) -> "Classifier":
        """Return a classifier that uses another head and shares the open file; MienError if the model has no such head."""
        return copy.copy(self)._set_head_and_prior(head, self._given_prior)

    def with_prior(self, prior: Prior | None) -> "Classifier":
        """Return a classifier with another prior, or the default one, that shares the open file; MienError as for the class."""
        return copy.copy(self)._set_head_and_prior(self.head, prior)

    def with_labels(self, changes: LabelMap) -> "Classifier":
        """Return a classifier with labels changed as by `mien.predict`, with the open file; MienError if one is unknown."""
        changed = copy.copy(self)
        changed.labels, new_index = self.labels.merge(changes)
        changed._new_index = tuple(new_index[old] if old >= 0 else -1 for old in self._new_index)
        return changed

    def _set_head_and_prior(self, head: str, prior: Prior | None) -> "Classifier":
        if head not in self.heads:
            raise MienError(f"The model {str(self.path)!r} has no head {head!r}; choose {' or '.join(self.heads)}.")
        self.head: str = head
        self._given_prior = prior
        if prior is None:
            prior = PRIORS[head] if self.training_priors else "training"
        shares, power = np.ones(len(self._file_labels)), float("nan")
        if isinstance(prior, Mapping):
            shares, power = as_shares(prior, self._file_labels), 1.0
            prior = dict(zip(self._file_labels, shares.round(6).tolist(), strict=True))
        elif isinstance(prior, str):
            power = {"training": 0.0, "balanced": 1.0}.get(prior, power)
        elif isinstance(prior, Real) and not isinstance(prior, bool) and 0 <= prior <= 1:
            prior = power = float(prior)
        if not 0 <= power <= 1:
            raise MienError(TABLES["no prior"].format(shortened(prior) if isinstance(prior, Real) else repr(prior)))
        self.prior: Prior = prior
        self.prior_factors: np.ndarray | None = None
        if power and not self.training_priors:
            raise MienError(f"{str(self.path)!r} does not state its training prior; train it again or leave out the prior.")
        if power:
            trained = self.training_priors[head]
            # a label that never occurred counts like the rarest one that did
            self.prior_factors = shares / np.maximum(trained, trained[trained > 0].min()) ** power
        return self

    @property
    def face_shape(self) -> tuple[int, ...]:
        """The shape of one face: (size, size) or (size, size, 3)."""
        return (self.size, self.size) if self.channels == 1 else (self.size, self.size, 3)

    @property
    def has_merged_labels(self) -> bool:
        """Whether labels of the file are merged or left out."""
        return self._new_index != tuple(range(len(self._file_labels)))

    @property
    def providers(self) -> list[str]:
        """The execution providers in use."""
        return list(self._session.get_providers())

    def predict_proba(self, faces: np.ndarray, batch_size: int = 64) -> np.ndarray:
        """Classify prepared faces.

        Args:
            faces: uint8, (N, size, size) or (N, size, size, 3), as `mien.images.prepare` makes them.
            batch_size: faces per call of ONNX Runtime; memory grows with it.

        Returns:
            float32, (N, K), each row the probabilities of the labels by the head in use; (0, K) for no faces.

        Raises:
            MienError: if the faces have another type or shape, or the model gives values that are no probabilities.
        """
        if not isinstance(faces, np.ndarray) or faces.dtype != np.uint8 or faces.shape[1:] != self.face_shape:
            found = f"{faces.dtype} {faces.shape}" if isinstance(faces, np.ndarray) else type(faces).__name__
            expected = ", ".join(map(str, self.face_shape))
            raise MienError(f"{self.path.name} takes uint8 faces (N, {expected}), not {found}; classify() prepares any face.")
        check_number("The batch size", batch_size, 1)
        output, batches = HEADS[self.head], [np.empty((0, len(self._file_labels)), dtype=np.float32)]
        try:
            for start in range(0, len(faces), batch_size):
                batches += self._session.run([output], {"faces": faces[start : start + batch_size]})
            probabilities = np.concatenate(batches)
        except Exception as error:  # ONNX Runtime's errors share no public base class
            LOGGER.debug("ONNX Runtime on %s: %s", self.path, error)
            text = str(error).rpartition("Status Message: ")[2]  # before that it refers to its source code
            no_memory = isinstance(error, MemoryError) or any(words in str(error) for words in ("bad_alloc", "allocate memory"))
            reason = "it needs too much memory" if no_memory else first_line(Exception(text))[:200]
            raise MienError(f"{str(self.path)!r} fails on faces ({reason}); give another model.") from None
        is_distribution = (probabilities >= 0).all() and (np.abs(probabilities.sum(axis=1) - 1) <= SUM_TOLERANCE).all()
        if len(probabilities) != len(faces) or not is_distribution:  # NaN is neither
            raise MienError(f"{str(self.path)!r} gives values for faces that are not probabilities; give another model.")
        if self.prior_factors is not None:
            probabilities = reweighted(probabilities, self.prior_factors)
        if not self.has_merged_labels:
            return probabilities
        return move_shares(np.maximum(probabilities, np.finfo(np.float32).tiny), self._new_index, len(self.labels))

    def classify(self, faces: ImageSource | Iterable[ImageSource], batch_size: int = 64) -> np.ndarray:
        """Classify images that show one face each and nothing else; no face is detected.

        Args:
            faces: one image or several, of any size: paths, bytes, Pillow images or arrays. An array (N, H, W) or
                (N, H, W, 3) is several; (H, W) and (H, W, 3) are one.
            batch_size: as for `predict_proba`.

        Returns:
            float32, (K,) for one image, (N, K) for several.

        Raises:
            MienError: if an image cannot be read.
        """
        check_number("The batch size", batch_size, 1)
        several = not isinstance(faces, ImageSource)
        if isinstance(faces, np.ndarray):
            several = faces.ndim > 3 or (faces.ndim == 3 and faces.shape[2] not in (1, 3, 4))
        images = iter(cast(Iterable[ImageSource], faces if several else [faces]))
        batches = [np.empty((0, len(self.labels)), dtype=np.float32)]
        while batch := [prepare(read_image(image), self.size, self.channels) for image in islice(images, batch_size)]:
            batches.append(self.predict_proba(np.stack(batch), batch_size))
        probabilities = np.concatenate(batches)
        return probabilities if several else probabilities[0]


def _metadata_value(metadata: Mapping[str, str], key: str) -> Any:
    kinds, least, most, default = TABLES["fields"][key]
    value, text = None, metadata.get(f"mien.{key}") or default
    with suppress(ValueError, RecursionError):
        value = json.loads(text)
    size = len(value) if isinstance(value, list | dict) else value
    if type(value).__name__ not in kinds.split() or len(text) > TABLES["limits"]["most_text"] or not least <= size <= most:
        raise ValueError(f"{key} is {text[:40]!r}")
    return value


def open_classifier(
    model: str | Path | Classifier, head: str | None = None, prior: Prior | None = None, labels: LabelMap | None = None
) -> Classifier:
    """Open a model for one thread, or take an open one, and change its head, prior and labels where these are given."""
    classifier = model if isinstance(model, Classifier) else Classifier(model, threads=1)
    classifier = classifier if head is None else classifier.with_head(head)
    classifier = classifier if prior is None else classifier.with_prior(prior)
    return classifier.with_labels(labels) if labels else classifier


def as_shares(given: Mapping[str, float], labels: LabelSet) -> np.ndarray:
    """Return the share of each label, (K,), float64, scaled to a sum of 1."""
    for name in given:
        labels.index(str(name))
    if missing := [name for name in labels if name not in given]:
        raise MienError(f"The prior has no share for {', '.join(missing)}; give one for each label, 0 if it never occurs.")
    values = [given[name] for name in labels]
    if not all(isinstance(value, Real) and 0 <= value < 1e12 for value in values) or not any(values):
        raise MienError(f"The shares of a prior are numbers of 0 or more and not all 0, not {shortened(dict(given))}.")
    return np.array(values, dtype=np.float64) / sum(values)


def reweighted(probabilities: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Multiply probabilities (..., K) by a factor for each label, and scale them to a sum of 1: float32."""
    # 0 is a probability below float32's smallest; if the others are excluded by their factors, it must remain
    weighted = np.maximum(probabilities, np.finfo(np.float32).tiny, dtype=np.float64) * factors
    return np.asarray(weighted / weighted.sum(axis=-1, keepdims=True), dtype=np.float32)


class _Session(onnxruntime.InferenceSession):  # type: ignore[misc, unused-ignore]
    """A session that a pickle opens again, where the file or the embedded model of that name then is."""

    def __init__(self, model: str | Path, providers: Sequence[str] | None, threads: int | None) -> None:
        path = find_model(model)
        self.opened_with = path.stem if path.parent == MODELS else path.absolute(), providers, threads
        if threads is not None:
            check_number("The number of threads", threads, 1)
        available = {name.removesuffix("ExecutionProvider").lower(): name for name in onnxruntime.get_available_providers()}
        # the others only on request: TensorRT builds an engine for minutes, Azure calls a web service
        wanted = providers or [name for name in ("cuda", "coreml", "cpu") if name in available]
        names = [name.removesuffix("ExecutionProvider").lower() for name in wanted]
        if missing := [name for name in names if name not in available]:
            raise MienError(f"ONNX Runtime has no provider {missing[0]!r} here; it has {', '.join(available)}.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # none: exceptions have the errors, and warnings about graphs are of no use to a user
        # 0 is ONNX Runtime's default: one thread per physical core, which is too many if this process may use fewer
        options.intra_op_num_threads = threads or (0 if usable_cores() == os.cpu_count() else usable_cores())
        try:
            if path.parent != MODELS:
                check_file(path, try_model)
            super().__init__(str(path), options, providers=[available[name] for name in names])
            self.metadata = dict(self.get_modelmeta().custom_metadata_map)
        except MienError:
            raise
        except Exception as error:  # ONNX Runtime's errors share no public base class
            LOGGER.debug("ONNX Runtime on %s: %s", path, error)
            raise MienError(open_error(path, str(error))) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return _Session, self.opened_with


def try_model(path: Path) -> None:
    """Open a model file, check its recipe, and classify a black, a gray and a white face with each head."""
    model = Classifier(path, threads=1)
    try:
        recipe = parse_yaml(model.metadata.get("mien.recipe") or "{}", "The recipe")
        rows = json.loads(model.metadata.get("mien.train_rows") or "{}")
        kinds = (rows, dict), (recipe.get("keep") or [], list), (recipe.get("merge") or {}, dict)
        if not all(isinstance(value, kind) for value, kind in kinds):
            raise ValueError("of another type")
    except (MienError, ValueError, RecursionError):
        raise MienError(f"The recipe or train_rows in the metadata of {str(path)!r} are damaged; export it again.") from None
    faces = np.stack([np.full(model.face_shape, value, np.uint8) for value in (0, 128, 255)])
    for head in model.heads:
        model.with_head(head).predict_proba(faces, batch_size=2)  # two faces, then one
