"""Learning from trained networks: initial weights (Yosinski et al., 2014; Howard and Ruder, 2018), and distillation.

Teachers and student (Hinton et al., 2015) see the same crop, rotation and scale (Beyer et al., 2022), only the student poor
light, blur, noise and covered parts (Xie et al., Self-training with noisy student, 2020).
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

import onnx
import torch
from onnx import numpy_helper
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mien.data.faceset import FaceSet
from mien.errors import MienError, say
from mien.files import write_whole
from mien.inference.classifier import Classifier, embedded_models
from mien.inference.model_file import ON_HUB
from mien.inputs import parse_yaml
from mien.labels import LabelSet, select_changes
from mien.training.batches import DeviceFaces, place, worsen
from mien.training.networks import FaceNetwork, build_network, fetch_from_hub, head_of, input_failure, pixels
from mien.training.recipe import HUB, MISTAKES, TIMM, Recipe, load_recipe, recipe_from_dict

QUANTIZED = "mien.quantized"  # metadata key of a quantized model file; its value is the type, such as int8
PREFIX = "model.network."  # prefix of the network's own names in a model file
TAUGHT = "taught.safetensors"  # file in a run folder: the teachers' predictions for each view
CHUNK = 512
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")  # suffixes of weights in formats that can run code


@dataclass(frozen=True)
class TrainedRun:
    """A finished run: its recipe with all overrides, its labels, and the file of its weights, which can be the model file."""

    recipe: Recipe
    labels: LabelSet
    weights: Path

    @classmethod
    def open(cls, run: Path, role: str) -> "TrainedRun":
        """Open the folder of a finished run; `role` names it in the error message."""
        recipe, weights, model = (run / name for name in ("recipe.yaml", "weights.safetensors", "model.onnx"))
        if not all(file.is_file() for file in (recipe, weights, model)):
            raise MienError(MISTAKES["not finished"].format(role=role, run=run))
        return cls(load_recipe(recipe), Classifier(model).labels, weights)

    @classmethod
    def of_model(cls, name: str) -> "TrainedRun":
        """Open a float32 model file of one of mien's own networks, by any name that `mien.Classifier` accepts."""
        model = Classifier(name, threads=1)
        if kind := model.metadata.get(QUANTIZED):
            raise MienError(MISTAKES["quantized"].format(name=name, kind=kind))
        recipe = parse_yaml(model.metadata.get("mien.recipe") or "{}", f"The recipe in {name}")
        if not recipe:
            raise MienError(MISTAKES["no recipe"].format(name=name))
        if ":" in str(recipe.get("network", "")):  # timm's or the user's, in which other layers are folded
            raise MienError(MISTAKES["of timm"].format(name=name))
        return cls(recipe_from_dict(recipe), model.labels, model.path)


def is_model(weights: str | None) -> bool:
    """Return whether `Recipe.weights` names a model file: by its suffix, an embedded model, or one on the hub."""
    name = weights or ""
    is_embedded = name in embedded_models() and not Path(name).exists()
    return name.startswith(ON_HUB) or Path(name).suffix.lower() == ".onnx" or is_embedded


def trained_run(weights: str | None) -> TrainedRun | None:
    """Open the run or the model that initial weights come from; None for those of the hub and for files of weights alone."""
    if weights is None or weights == HUB:
        return None
    if is_model(weights):
        return TrainedRun.of_model(weights)
    path = Path(weights)
    if path.name == "weights.safetensors" and (path.parent / "recipe.yaml").is_file():
        path = path.parent
    return TrainedRun.open(path, "run to take weights from") if path.is_dir() else None


def starting_model(weights: str | None) -> Classifier | None:
    """Open the model that initial weights come from; None for random weights and where there are weights alone."""
    with suppress(MienError):
        return Classifier(weights, head="label") if weights else None
    return None


def start_of(recipe: Recipe, trained: Classifier) -> Classifier | None:
    """Open the model that training started from, with the labels of the trained one; None if it lacks one of them."""
    start = starting_model(recipe.weights)
    if start is None or start.face_shape != trained.face_shape:
        return None
    with suppress(MienError):
        start = start.with_labels(select_changes(recipe.merge or {}, start.labels.find))
        if set(trained.labels) <= set(start.labels):
            return start.with_labels(dict.fromkeys(name for name in start.labels if name not in trained.labels))
    return None


def starting_network(recipe: Recipe, labels: LabelSet) -> nn.Module:
    """Build a recipe's network with its initial weights, and check that it accepts growing faces if the recipe has them."""
    name, from_hub = recipe.weights, recipe.weights == HUB
    pretrained = fetch_from_hub(recipe.network.removeprefix(TIMM)) if from_hub else None
    network = build_network(recipe, len(labels) * len(recipe.heads), pretrained)
    run, mismatch = trained_run(name), ""  # why the head of the run cannot be used
    if run is not None:
        keys = ("network", "network_options", "activation", "mean", "std")
        if others := [key for key in keys if getattr(run.recipe, key) != getattr(recipe, key)]:
            differences = ", ".join(f"{key} {getattr(run.recipe, key)}, not {getattr(recipe, key)}" for key in others)
            raise MienError(MISTAKES["other network"].format(name=name, differences=differences, key=others[0]))
        if run.labels != labels:
            mismatch = f"the labels of {name} are {', '.join(run.labels)}"
        elif run.recipe.heads[: len(recipe.heads)] != recipe.heads:
            mismatch = f"the heads of {name} are {' and '.join(run.recipe.heads)}"
        load_weights(network, run.weights, head=not mismatch, first_head=len(run.recipe.heads) > len(recipe.heads))
    elif name and not from_hub and not load_weights(network, Path(name)):
        mismatch = f"the head of {name} has another shape"
    if mismatch and recipe.weights_share:
        raise MienError(f"weights_share needs weights with the same head, but {mismatch}; remove weights_share.")
    say(f"the head starts with random weights: {mismatch}", quiet=not mismatch)
    side = recipe.crop_from
    if side is not None and recipe.enlarge_to is None and input_failure(network, recipe.channels, side):
        raise MienError(MISTAKES["cannot grow"].format(network=recipe.network, side=side))
    return network


def head_only(network: nn.Module, alone: bool) -> None:
    """Freeze all but the head, including BatchNorm statistics, or unfreeze everything."""
    network.requires_grad_(not alone).train(not alone)
    head_of(network).requires_grad_(True).train()


@torch.no_grad()
def load_weights(network: nn.Module, file: Path, head: bool = True, first_head: bool = False) -> bool:
    """Load weights from a .safetensors or model file, of two heads there the first, and tell whether the head was loaded."""
    given = read_model_weights(file, network) if file.suffix.lower() == ".onnx" else _read_safetensors(file)
    of_head = {id(parameter) for parameter in head_of(network).parameters()}
    in_head = {name for name, parameter in network.named_parameters() if id(parameter) in of_head}
    problems, loaded = [], set()
    for name, value in network.state_dict().items():
        found = given.get(name) if head or name not in in_head else None
        if found is not None and name in in_head and first_head:
            found = found[: len(value)]
        elif found is not None and found.ndim == value.ndim == 4 and {found.shape[1], value.shape[1]} == {1, 3}:
            # a first convolution between one and three channels: answers for gray faces stay
            found = found.float().sum(1, keepdim=True) if value.shape[1] == 1 else found.float().expand(-1, 3, -1, -1) / 3
        if found is not None and found.shape == value.shape:
            value.copy_(found)
            loaded.add(name)
        elif name not in in_head and not name.endswith("num_batches_tracked"):
            shape = tuple(given[name].shape) if name in given else "missing"
            problems.append(f"{name} is {shape}, not {tuple(value.shape)}")
    if problems:
        listed = ", ".join([*problems[:3], *([f"and {len(problems) - 3} more"] if len(problems) > 3 else [])])
        raise MienError(MISTAKES["other weights"].format(file=file, problems=listed))
    return in_head <= loaded


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    if not file.is_file() and file.suffix.lower() not in PICKLES:
        raise MienError(f"There is no run folder and no file {str(file)!r}; check --recipe.weights.")
    if file.suffix.lower() != ".safetensors":
        raise MienError(MISTAKES["pickle"].format(name=str(file)))
    try:
        return {name.removeprefix("network."): value for name, value in load_file(file).items()}  # a prefix in run folders
    except SafetensorError as problem:
        raise MienError(f"The weights in {file} cannot be read ({problem}); is the file whole?") from None


def read_model_weights(file: Path, network: nn.Module) -> dict[str, Tensor]:
    """Read the weights of a float32 model file, by their names in a network of the same kind."""
    graph = onnx.load(file).graph
    arrays = {each.name.removeprefix(PREFIX): numpy_helper.to_array(each) for each in graph.initializer}
    weights = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    layers = [node.input for node in graph.node if node.op_type in ("Conv", "Gemm") and len(node.input) > 2]
    biases = {weight.removeprefix(PREFIX): bias.removeprefix(PREFIX) for _, weight, bias in layers}
    # a BatchNorm follows its layer, into which it was folded: restored, it changes nothing but adds the bias
    for (layer, _), (norm, module) in pairwise(network.named_modules()):
        bias = weights.get(biases.get(f"{layer}.weight", ""))
        if not isinstance(module, _BatchNorm) or f"{norm}.running_mean" in weights or bias is None:
            continue
        weights |= {
            f"{norm}.weight": torch.full_like(bias, (1 + module.eps) ** 0.5),
            f"{norm}.bias": bias,
            f"{norm}.running_mean": torch.zeros_like(bias),
            f"{norm}.running_var": torch.ones_like(bias),
            f"{layer}.bias": torch.zeros_like(bias),
        }
    return {name: weights[name] for name in network.state_dict() if name in weights}


class Teachers(nn.Module):
    """An ensemble of trained networks: the mean of their probabilities, all at one temperature, for the heads they share."""

    def __init__(self, networks: Sequence[FaceNetwork], temperature: float) -> None:
        super().__init__()
        self.networks, self.temperature = nn.ModuleList(networks), temperature
        self.heads = ("label", "crowd")[: min(len(network.heads) for network in networks)]
        nn.utils.convert_conv2d_weight_memory_format(self, torch.channels_last)
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, faces: Tensor) -> Tensor:
        """Map float32 faces (N, C, H, W) between 0 and 1 to probabilities (N, heads, K)."""
        logits = [cast(FaceNetwork, each).logits(faces)[:, : len(self.heads)] for each in self.networks]
        return torch.stack([torch.softmax(each / self.temperature, dim=2) for each in logits]).mean(0)


def load_teachers(recipe: Recipe, faces: FaceSet) -> Teachers:
    """Load a recipe's teachers, whose labels and faces must match the student's."""
    networks = []
    for folder in recipe.distillation.teachers:
        run = TrainedRun.open(Path(folder), "teacher")
        if run.labels != faces.labels:
            labels, expected = ", ".join(run.labels), ", ".join(faces.labels)
            raise MienError(MISTAKES["teacher's labels"].format(folder=folder, labels=labels, expected=expected))
        if (run.recipe.size, run.recipe.channels) != (recipe.size, recipe.channels):
            raise MienError(MISTAKES["teacher's faces"].format(folder=folder, teacher=run.recipe, student=recipe))
        network = FaceNetwork(run.recipe, build_network(run.recipe, len(run.labels) * len(run.recipe.heads)))
        network.load_state_dict(load_file(run.weights))
        networks.append(network)
    return Teachers(networks, recipe.distillation.temperature)


class Views:
    """Views of every training face, made again by seed when needed, and predictions for them (Faghri et al., 2023) in `out`."""

    def __init__(self, recipe: Recipe, faces: DeviceFaces, teachers: Teachers, out: Path) -> None:
        self.recipe, self.faces, file = recipe, faces, out / TAUGHT
        self.taught = load_file(file) if file.is_file() else {}
        for number in range(recipe.distillation.views):
            if str(number) not in self.taught:
                answers = [teachers(placed.to(faces.device)).cpu().half() for placed, _ in self._parts(number)]
                self.taught[str(number)] = torch.cat(answers)
                write_whole(file, lambda part: part.write_bytes(save(self.taught)))

    def of_epoch(self, epoch: int) -> DeviceFaces:
        """Return the faces of an epoch, with the teachers' predictions."""
        number = epoch % self.recipe.distillation.views
        seen, faces = torch.cat([worsened for _, worsened in self._parts(number)]), copy(self.faces)
        images = seen[:, 0] if seen.shape[1] == 1 else seen.permute(0, 2, 3, 1).contiguous()
        faces.images, faces.taught = images.to(faces.images.device), self.taught[str(number)].float().to(faces.device)
        return faces

    def _parts(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Create a view in parts on the CPU: float32 faces (N, C, S, S) for the teachers, uint8 faces for the student."""
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed * 100_003 + 50_000 + number)
            for part in torch.split(self.faces.images, CHUNK):
                placed = place(pixels(part.cpu()), self.recipe.augmentation, self.recipe.crop)
                yield placed, (worsen(placed, self.recipe.augmentation).clamp(0, 1) * 255).round().to(torch.uint8)
