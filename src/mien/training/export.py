"""Export of a trained network as model.onnx, which is written only if ONNX Runtime gives the same probabilities as PyTorch."""

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.files import write_whole
from mien.inference.classifier import HEADS
from mien.training.batches import DeviceFaces, class_weights, sampling_probabilities
from mien.training.face_network import FaceNetwork
from mien.training.optimization import with_votes
from mien.training.recipe import Recipe

LARGEST_DIFFERENCE = 1e-4  # of probabilities; float32 with another order of summation stays well below


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """Find the temperature in 0.05 to 20 with the lowest log loss (Guo et al., 2017); rows without targets do not count."""
    if not targets.any():
        return 1.0
    logits, targets = logits.double(), targets.double()

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / torch.tensor(log_temperature).exp(), targets))

    found = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    return float(torch.tensor(found.x).exp())


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
    content = _with_metadata(_to_onnx(network, faces[:2], outputs), metadata)
    found = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(outputs, {"faces": sample})
    difference = max(float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True))
    if not difference <= LARGEST_DIFFERENCE:
        raise MienError(
            f"The exported model differs from PyTorch by {difference:.2g} in a probability, more than {LARGEST_DIFFERENCE:g}; "
            "no file was written. Use another network or another release of torch."
        )
    write_whole(path, lambda part: part.write_bytes(content))
    return difference


def _to_onnx(network: nn.Module, faces: Tensor, outputs: list[str]) -> onnx.ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):  # about its own internals
        program = torch.onnx.export(
            network,
            (faces,),
            input_names=["faces"],
            output_names=outputs,
            dynamic_shapes={"faces": {0: torch.export.Dim("faces", min=1)}},
            dynamo=True,
            verbose=False,
        )
        assert program is not None
    return program.model_proto


def _with_metadata(model: onnx.ModelProto, metadata: Mapping[str, str]) -> bytes:
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]  # of nodes Python stack traces, with paths of the machine that trained
    for node in graph.node:
        node.doc_string = ""
    onnx.helper.set_model_props(model, dict(metadata))
    model.producer_name, model.producer_version = "mien", metadata.get("mien.version", "")
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
