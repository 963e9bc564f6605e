"""A run's files: its epochs, from which it is resumed exactly or not at all, and its calibrated model file, also as int8."""

import contextlib
import hashlib
import io
import logging
import math
import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from safetensors.torch import save
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from mien import __version__
from mien.data.faceset import FaceSet
from mien.data.worse_photos import CHANGES, worse_copies
from mien.errors import MienError, say
from mien.files import INT8_MODEL, write_whole
from mien.inference.classifier import HEADS
from mien.training.batches import DeviceFaces, class_weights, in_order, sampling_probabilities, with_votes
from mien.training.networks import FaceNetwork
from mien.training.recipe import MISTAKES, Recipe
from mien.training.task import ClassificationTask
from mien.training.transfer import QUANTIZED, TAUGHT

CHECKPOINTS = ("last.ckpt", "previous.ckpt")  # of the last epoch and the one before
LARGEST_DIFFERENCE = 1e-4  # of probabilities; float32 with another order of summation stays well below
IN_INT8 = ["Conv", "Gemm", "MatMul", "Add"]  # they take most of the time, converting others would only cost time
BATCH = 64  # faces on which the ranges for int8 are measured at once
FEWEST_WORSE = 1000  # worse copies to fit a temperature on: of few faces several each, at most one by each change
SPREAD = 0.5  # of the logarithm of a temperature around that of the initial weights; measured in docs/training.md


def describe_conditions(recipe: Recipe, faces: FaceSet, out: Path, fabric: Fabric) -> dict[str, dict[str, str]]:
    """Describe what decides a run: what must be the same to resume it, and what only changes last digits."""
    settings = replace(recipe, description="").to_yaml() + faces.split("train").fingerprint()
    same = {
        "the recipe or the training rows": hashlib.sha256(settings.encode()).hexdigest(),
        "the version of mien": __version__,
        "the validation rows": validation_rows(faces).fingerprint(),
    }
    files = {f"the teacher {run}": Path(run, "weights.safetensors") for run in recipe.distillation.teachers}
    files[f"{TAUGHT} in that folder (delete it, and it is made again)"] = out / TAUGHT
    same |= {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items() if file.is_file()}
    close = {"device": fabric.device.type, "torch": str(torch.__version__), "threads": str(torch.get_num_threads())}
    return {"same": same, "close": {**close, "processes": str(fabric.world_size)}}


def validation_rows(faces: FaceSet) -> FaceSet:
    """Take the validation rows; a model of all rows has none, and is watched, but not chosen, on some of its training rows."""
    return faces.split("validation") if "validation" in faces.split_names else faces.take(np.arange(min(len(faces), 256)))


class RunFolder:
    """The epochs of a run, as in log.csv, the `best` one, and their files, which resuming repairs from a checkpoint."""

    def __init__(self, folder: Path, task: ClassificationTask, faces: FaceSet) -> None:
        self.folder, self.recipe, self.task = folder, task.recipe, task
        self.conditions = describe_conditions(task.recipe, faces, folder, task.fabric)
        self.writes = task.fabric.is_global_zero
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None
        self.weights: dict[str, Tensor] = {}
        state = task.fabric.broadcast(self._resumable() if self.writes else None)
        if state is not None:
            self.history, self.best, self.weights = state["history"], state["best"], state["weights"]
            task.load_state_dict(state["task"])
            self._write_results()

    def _resumable(self) -> dict[str, Any] | None:
        """Read the newest whole checkpoint, if any, and check that it was made under the same conditions."""
        damaged = []
        for path in (self.folder / name for name in CHECKPOINTS if (self.folder / name).exists()):
            if (state := _read_checkpoint(path)) is None:
                damaged.append(path)
                continue
            if (then := state.get("conditions")) is None:
                raise MienError(f"{path} is of another program or an older mien; train again into another --out.")
            if changed := [name for name, value in self.conditions["same"].items() if then["same"].get(name) != value]:
                raise MienError(MISTAKES["changed"].format(out=self.folder, changes=", ".join(changed)))
            for name, value in self.conditions["close"].items():
                if (before := then["close"][name]) != value:
                    say(f"resuming with {name} {value}, not {before}: the result can differ in the last digits")
            for each in damaged:
                say(f"{each} is damaged; going on from the epoch before it, in {path.name}")
                each.unlink()
            return state
        if damaged:
            raise MienError(MISTAKES["lost"].format(damaged=" and ".join(map(str, damaged))))
        return None

    @property
    def chosen(self) -> dict[str, float] | None:
        """The best epoch by validation; None if the last epoch is always kept."""
        return None if self.recipe.select_by == "last" else self.best

    @property
    def is_complete(self) -> bool:
        """Whether all epochs are done, or enough of them brought no improvement, or the last one diverged."""
        done, patience = len(self.history), self.recipe.early_stopping or float("inf")
        has_diverged = bool(self.history) and np.isnan(self.history[-1]["validation_loss"])
        return done == self.recipe.epochs or has_diverged or (self.best is not None and done - self.best["epoch"] >= patience)

    def add(self, row: dict[str, float]) -> None:
        """Write `weights.safetensors` if the epoch is the best, `log.csv` and the checkpoint."""
        row = self.task.fabric.broadcast(row)  # so that all processes decide the same
        self.history.append(row)
        if self.best is None or self._score(row) > self._score(self.best):
            self.best = row
            state = self.task.best_model.state_dict()
            self.weights = {name: value.to("cpu", copy=True).contiguous() for name, value in state.items()}
        if not self.writes:
            return
        self._write_results()
        state = {"history": self.history, "best": self.best, "weights": self.weights, "task": self.task.state_dict()}
        checkpoint = io.BytesIO()  # torch.save itself does not say that a disk is full
        torch.save({**state, "conditions": self.conditions}, checkpoint)
        last, previous = (self.folder / name for name in CHECKPOINTS)
        if last.exists():
            last.replace(previous)
        write_whole(last, lambda path: path.write_bytes(checkpoint.getbuffer()))

    def _write_results(self) -> None:
        rows = [",".join(str(round(value, 6)) for value in each.values()) for each in self.history]
        lines = "\n".join([",".join(self.history[0]), *rows, ""])
        write_whole(self.folder / "weights.safetensors", lambda path: path.write_bytes(save(self.weights)))
        write_whole(self.folder / "log.csv", lambda path: path.write_text(lines, encoding="utf-8"))

    def _score(self, row: dict[str, float]) -> float:
        scores = {"accuracy": row["validation_accuracy"], "loss": -row["validation_loss"], "last": row["epoch"]}
        return scores[self.recipe.select_by]


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint; None if it is damaged: torch.load does not check the checksums of the zip that it is."""
    try:
        with zipfile.ZipFile(path) as zipped:
            state = torch.load(path, map_location="cpu", weights_only=True) if zipped.testzip() is None else None
    except Exception:  # whatever torch's reader raises about broken bytes
        return None
    return state if isinstance(state, dict) else None


def fit_temperature(logits: Tensor, targets: Tensor, start: float = 1.0, repeats: int = 1) -> float:
    """Find the most probable temperature in 0.05 to 20 by log loss (Guo et al., 2017) and a log-normal prior around `start`."""
    if not (rows := int(targets.any(dim=1).sum()) / repeats):  # with targets; a row that is given repeatedly counts once
        return start
    logits, targets = logits.double(), targets.double()

    def loss(log_temperature: float) -> float:
        deviation = (log_temperature - math.log(start)) / SPREAD
        return float(F.cross_entropy(logits / math.exp(log_temperature), targets)) + deviation**2 / (2 * rows)

    return math.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x)


def calibrate(model: FaceNetwork, faces: DeviceFaces, initial: Sequence[float]) -> tuple[list[float], dict[str, int]]:
    """Fit each head's temperature on rows as they are and on worse copies of them, which weigh the same, and count both."""
    rounds, rows = min(len(CHANGES), max(1, FEWEST_WORSE // len(faces))), []
    with torch.inference_mode():
        for number, batch in enumerate(in_order(faces)):
            images, seeds = batch.faces.cpu().numpy(), range(number * rounds, (number + 1) * rounds)
            worse = [model(torch.from_numpy(worse_copies(images, seed)).to(faces.device)) for seed in seeds]
            rows += [(each, batch.targets, batch.votes) for each in (*[model(batch.faces)] * rounds, *worse)]
    logits, *truth = (torch.cat(parts).cpu() for parts in zip(*rows, strict=True))
    temperatures = [fit_temperature(logits[:, head], truth[head], start, 2 * rounds) for head, start in enumerate(initial)]
    return temperatures, {"as_they_are": len(faces), "worse": rounds * len(faces)}


def training_priors(recipe: Recipe, faces: FaceSet) -> dict[str, dict[str, float]]:
    """Compute each head's shares of the labels in the training rows, weighted as the recipe balances them."""
    balance, rows = recipe.balance, DeviceFaces(faces, torch.device("cpu"))
    learned = {"label": with_votes(rows.targets, rows.votes, recipe.votes.mix), "crowd": rows.votes}
    is_sampled = balance.sampler or balance.augment_minorities  # both show every label equally often
    weights = sampling_probabilities(faces.classes) if is_sampled else np.ones(len(faces))
    priors = {}
    for head in recipe.heads:
        shares = weights @ learned[head].double().numpy()
        if head == "label" and balance.class_weights:
            shares *= class_weights(faces.counts())
        shares = shares if shares.any() else np.ones_like(shares)  # no row has votes
        priors[head] = dict(zip(faces.labels, (shares / shares.sum()).round(6).tolist(), strict=True))
    return priors


class _ProbabilityNetwork(nn.Module):
    """A network with everything that a model file contains: uint8 faces to the calibrated probabilities of each head."""

    def __init__(self, model: FaceNetwork, temperatures: Sequence[float]) -> None:
        super().__init__()
        self.model, self.temperatures = model, tuple(temperatures)

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        logits = self.model(faces)
        return tuple(torch.softmax(logits[:, head] / value, dim=1) for head, value in enumerate(self.temperatures))


def export(
    model: FaceNetwork, temperatures: Sequence[float], sample: np.ndarray, metadata: Mapping[str, str], path: Path
) -> float:
    """Write model.onnx if it gives PyTorch's probabilities for the faces in `sample`; return the largest difference."""
    network = _ProbabilityNetwork(model, temperatures).cpu().eval()
    nn.utils.convert_conv2d_weight_memory_format(network, torch.contiguous_format)
    faces = torch.from_numpy(np.array(sample))
    with torch.inference_mode():
        expected = [probabilities.numpy() for probabilities in network(faces)]
    outputs = [HEADS[head] for head in model.heads]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    shapes = {"faces": {0: torch.export.Dim("faces", min=1)}}  # any number of them
    names: Any = {"input_names": ["faces"], "output_names": outputs}
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):  # about its own internals
        program = torch.onnx.export(network, (faces[:2],), **names, dynamic_shapes=shapes, dynamo=True, verbose=False)
        assert program is not None
    model_file = program.model_proto  # a new one for each access
    graph = model_file.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]  # of nodes Python stack traces, with paths of the machine that trained
    for node in graph.node:
        node.doc_string = ""
    onnx.helper.set_model_props(model_file, dict(metadata))
    model_file.producer_name, model_file.producer_version = "mien", metadata.get("mien.version", "")
    onnx.checker.check_model(model_file)
    content = model_file.SerializeToString()
    found = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(outputs, {"faces": sample})
    difference = max(float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True))
    if not difference <= LARGEST_DIFFERENCE:
        raise MienError(MISTAKES["differs"].format(found=difference, most=LARGEST_DIFFERENCE))
    write_whole(path, lambda part: part.write_bytes(content))
    return difference


def quantize(model: Path, faces: np.ndarray, metadata: Mapping[str, str], out: Path) -> None:
    """Write a float32 model file as int8 by static quantization (Jacob et al., 2018): smaller, and faster on most CPUs."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if not len(faces):
        raise MienError("There are no faces to measure the ranges of activations on; give data with rows.")
    last = max(0, len(faces) - BATCH)  # ONNX Runtime needs batches of one size: the last overlaps the one before
    parts = iter([{"faces": faces[min(start, last) :][:BATCH]} for start in range(0, len(faces), BATCH)])
    with tempfile.TemporaryDirectory() as folder:
        merged, small = Path(folder) / "merged.onnx", Path(folder) / "int8.onnx"
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # ONNX Runtime prints its progress
                quant_pre_process(str(model), str(merged), skip_symbolic_shape=True)
                layers = [node.name for node in onnx.load(merged).graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
                quantize_static(
                    merged,
                    small,
                    SimpleNamespace(get_next=lambda: next(parts, None)),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=IN_INT8,
                    nodes_to_exclude=[*layers[:1], *layers[-1:]],  # cheap, and their errors would affect accuracy most
                    calibrate_method=CalibrationMethod.Percentile,  # mien-s then differs by 0.0008 nats, by MinMax 0.0018
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                )
        except OSError:
            raise
        except Exception as error:  # ONNX Runtime's errors have no common public base class
            reason = " ".join(str(error).split()) or type(error).__name__
            raise MienError(MISTAKES["not to int8"].format(model=str(model), reason=reason)) from error
        quantized = onnx.load(small)
    onnx.helper.set_model_props(quantized, {**metadata, QUANTIZED: "int8"})
    write_whole(out, lambda part: part.write_bytes(quantized.SerializeToString()), INT8_MODEL)
