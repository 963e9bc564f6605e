"""Everything that decides the trained model, as one frozen dataclass and one YAML; no torch needed to read it."""

import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from mien.errors import MienError, in_plain_words
from mien.inference.classifier import is_on_hub

# The parts of a recipe: what belongs together in it, a frozen dataclass each.


@dataclass(frozen=True)
class Optimizer:
    """How weights follow their gradients."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    """adamw (Loshchilov and Hutter, 2019), adam (Kingma and Ba, 2015), or sgd with Nesterov momentum."""
    learning_rate: float = 1e-3
    """The highest rate of the schedule."""
    backbone_rate: float = 1.0
    """What the rate is multiplied by for everything but the classification head: below 1 where the backbone is pretrained."""
    weight_decay: float = 1e-2
    """Decay of convolution and linear weights; biases and normalisation are left alone."""
    momentum: float = 0.9
    """Momentum of sgd; the others ignore it."""


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes during training."""

    name: Literal["constant", "plateau", "cosine", "one_cycle"] = "constant"
    """plateau: times `factor` when validation loss has not fallen for `patience` epochs; cosine: down to zero;
    one_cycle: linearly up, then down to zero along a cosine (Smith and Topin, 2018)."""
    warmup: float = 0.2
    """Share of the steps in which one_cycle rises."""
    factor: float = 0.5
    """What plateau multiplies the rate by."""
    patience: int = 10
    """Epochs without a lower validation loss before plateau acts."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of every training face, drawn anew for each face and epoch."""

    flip: float = 0.5
    """Probability of mirroring."""
    rotation: float = 0.0
    """Largest turn either way, in degrees."""
    translation: float = 0.0
    """Largest shift either way, as a share of the side."""
    scale: float = 0.0
    """Largest change of size either way, as a share."""
    brightness: float = 0.0
    """Largest amount added or taken away, where white is 1."""
    contrast: float = 0.0
    """Largest change of contrast either way, as a share."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise, where white is 1."""
    blur: float = 0.0
    """Probability of losing detail, as in a face seen from far away: resampled to between a third and all of its side."""
    degradation: float = 0.0
    """Probability of a worse camera: out of focus by up to 1/32 of the side, and noise of up to a tenth of white."""
    erasing: float = 0.0
    """Probability of covering a random rectangle, 2 to 20% of the face (Zhong et al., 2020)."""


@dataclass(frozen=True)
class Balance:
    """What is done about rare labels; any of it can be tried with any network."""

    sampler: bool = False
    """Draw faces with replacement, every label equally often."""
    class_weights: bool = False
    """Weigh each label's loss by how rare it is."""
    augment_minorities: bool = False
    """Add changed copies of the rarer labels' training faces until each has as many as the largest; the originals stay."""
    copies: Augmentation = field(default_factory=lambda: Augmentation(rotation=15, translation=0.1, scale=0.1, brightness=0.1))
    """How those copies are changed, anew in every epoch."""


@dataclass(frozen=True)
class Votes:
    """What the crowd's votes teach, where the data have them beside the labels (FER+; Barsoum et al., 2016)."""

    head: float = 0.0
    """Weight of the loss of a second head, which answers as the crowd would; 0 for no such head."""
    mix: float = 0.0
    """Share of the crowd's votes in what the first head is to answer; 0 for the labels alone."""


@dataclass(frozen=True)
class Distillation:
    """What trained networks teach (Hinton et al., 2015)."""

    teachers: list[str] = field(default_factory=list)
    """Folders of finished runs; they answer together, by the mean of their probabilities."""
    weight: float = 0.7
    """Share of the loss that comes from their answers; the rest comes from the targets."""
    temperature: float = 1.0
    """What their logits and the student's are divided by."""
    views: int = 0
    """Changed views of every face that the teachers answer once, before training, so that a large teacher is affordable on a
    CPU; 0 lets them answer in every step."""


TIMM, HUB = "timm:", "hub"
"""How a recipe names a network of timm, and weights that timm knows where to find."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the trained model; where it runs and where it is written are not part of it."""

    description: str = ""
    """One line for the list of recipes."""
    network: str = "compact_resnet"
    """A network of mien's, or timm:<name> for any of timm's; an unknown name is answered with the nearest."""
    network_options: dict[str, Any] | None = None
    """What else the network is told: compact_resnet {"squeeze_excitation": true}, one of timm such as {"pad_type": "same"}."""
    weights: str | None = None
    """Weights to start from: a run folder, a model file or its name, such as mien-s, or a .safetensors file, of that network;
    or hub, for those that timm names; fresh, if not given."""
    weights_share: float = 0.0
    """Share of those weights in what is validated and exported, the rest being what training came to (WiSE-FT; Wortsman et al.,
    2022); 0 for none."""
    dropout: float = 0.2
    """Share of activations dropped in training, where the network has dropout."""
    activation: Literal["relu", "leaky_relu", "swish", "mish"] = "relu"
    """The network's activation; timm's networks have their own."""
    size: int = 48
    """Side of the faces in pixels."""
    enlarge_to: int | None = None
    """Side to which the faces are enlarged in front of the network, inside the model; not at all, if not given."""
    crop: int | None = None
    """Side of the square that the network sees: the middle of a face, and in training any part of it; all, if not given."""
    crop_from: int | None = None
    """Side of that square in the first epoch of training, from which it grows to `crop` in the last; `crop`, if not given."""
    channels: Literal[1, 3] = 1
    """1 for gray, 3 for colour; images are converted to it."""
    mean: float = 0.5
    """Subtracted from pixels between 0 and 1."""
    std: float = 0.5
    """What pixels are divided by afterwards."""
    keep: list[str] | None = None
    """Labels to keep, in this order; rows of others are left out. All, if not given."""
    merge: dict[str, list[str]] | None = None
    """Labels to merge: new name to members; done before `keep`."""
    carve: int | float = 0.1
    """What of each label's training rows becomes validation where the data have none: a share, or a whole number of rows."""
    own_validation: bool = True
    """Validate on the data's own validation rows; otherwise they become test rows, and validation is carved from training."""
    epochs: int = 30
    """Passes over the training faces."""
    head_epochs: int = 0
    """The first of them, in which the classification head learns alone and a pretrained backbone stays as it is."""
    batch_size: int = 128
    """Faces in a step."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    """How weights follow their gradients."""
    schedule: Schedule = field(default_factory=Schedule)
    """How the learning rate changes."""
    votes: Votes = field(default_factory=Votes)
    """What the crowd's votes teach."""
    distillation: Distillation = field(default_factory=Distillation)
    """What trained networks teach."""
    mixup: float = 0.0
    """Both parameters of the Beta distribution by which pairs of faces and their targets are blended (Zhang et al., 2018); 0
    for none."""
    label_smoothing: float = 0.0
    """Share of each target spread over all labels (Szegedy et al., 2016)."""
    focal_gamma: float = 0.0
    """How much less an answer counts that is already right (focal loss; Lin et al., 2017); 0 is cross-entropy."""
    balance: Balance = field(default_factory=Balance)
    """What is done about rare labels."""
    ema: float = 0.0
    """Decay of the exponential moving average of the weights that is validated and exported; 0 for none."""
    precise_batch_norm: bool = False
    """Measure BatchNorm's statistics before every validation, on unchanged training faces (Wu and Johnson, 2021)."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Random changes of the training faces."""
    select_by: Literal["accuracy", "loss", "last"] = "accuracy"
    """What the epoch whose weights are kept is chosen by: its accuracy or loss on validation; last keeps the last one, whatever
    validation says of it."""
    early_stopping: int | None = None
    """Stop after so many epochs without a better one; never, if not given."""
    seed: int = 0
    """The same recipe, data, seed, machine and number of threads give the same weights, bit by bit on CPU."""

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("dropout", "label_smoothing", "ema", "weights_share")} | {
            "votes.mix": self.votes.mix
        }
        shares["distillation.weight"] = self.distillation.weight
        for changes, prefix in ((self.augmentation, "augmentation"), (self.balance.copies, "balance.copies")):
            shares |= {f"{prefix}.{name}": getattr(changes, name) for name in ("flip", "blur", "erasing")}
        for name, share in shares.items():
            if not 0 <= share <= 1 or (share == 1 and "." not in name):
                raise MienError(f"The recipe's {name} must be a share between 0 and 1, not {share}.")
        if self.carve <= 0 or (isinstance(self.carve, float) and self.carve >= 1):
            raise MienError(f"The recipe's carve must be a share below 1 or a whole number of rows, not {self.carve}.")
        for name, amount in (("focal_gamma", self.focal_gamma), ("mixup", self.mixup), ("votes.head", self.votes.head)):
            if amount < 0:
                raise MienError(f"The recipe's {name} must be 0 or more, not {amount}.")
        for name in ("size", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise MienError(f"The recipe's {name} must be at least 1, not {getattr(self, name)}.")
        if self.seed < 0:
            raise MienError(f"The recipe's seed must be 0 or more, not {self.seed}.")
        if min(self.optimizer.learning_rate, self.std, self.distillation.temperature) <= 0:
            raise MienError("The recipe's optimizer.learning_rate, std and distillation.temperature must be above 0.")
        if self.distillation.views and (self.crop_from is not None or self.balance.augment_minorities):
            raise MienError(
                "The recipe's distillation.views must be 0 where faces grow (crop_from) or minorities are augmented."
            )
        if self.optimizer.backbone_rate <= 0:
            raise MienError("The recipe's optimizer.backbone_rate must be above 0; head_epochs keeps a backbone as it is.")
        if self.crop is not None and not 1 <= self.crop <= self.size:
            raise MienError(f"The recipe's crop must be at most its size, {self.size}, not {self.crop}.")
        if self.crop_from is not None and not 1 <= self.crop_from <= self.seen:
            raise MienError(f"The recipe's crop_from must be at most its crop, {self.seen}, not {self.crop_from}.")
        if self.enlarge_to is not None and self.enlarge_to < self.seen:
            raise MienError(f"The recipe's enlarge_to must be at least its size, {self.seen}, not {self.enlarge_to}.")
        if not 0 <= self.head_epochs <= self.epochs:
            raise MienError(
                f"The recipe's head_epochs must be between 0 and its epochs, {self.epochs}, not {self.head_epochs}."
            )
        if self.weights == HUB and not self.network.startswith(TIMM):
            raise MienError(
                f"Weights from the hub are for timm's networks, not for {self.network}; give a run folder, a model or a file."
            )
        if self.weights_share and self.weights in (None, HUB):
            raise MienError("The recipe's weights_share needs weights for the same labels: name a run with --recipe.weights.")
        if self.early_stopping is not None and self.select_by == "last":
            raise MienError("The recipe's early_stopping waits for a better epoch; where select_by is last there is none.")
        if self.early_stopping is not None and self.early_stopping < 1:
            raise MienError(f"The recipe's early_stopping must be at least 1 epoch, not {self.early_stopping}.")

    @property
    def seen(self) -> int:
        """Side in pixels of the part of a face that the network sees."""
        return self.crop or self.size

    @property
    def network_size(self) -> int:
        """Side in pixels of what is put into the network: that part, enlarged or not."""
        return self.enlarge_to or self.seen

    @property
    def heads(self) -> tuple[str, ...]:
        """What the network answers as: label, and crowd where there is a second head."""
        return ("label", "crowd") if self.votes.head else ("label",)

    def to_yaml(self) -> str:
        """Write the recipe as the YAML that `load_recipe` reads."""
        return yaml.safe_dump(dataclasses.asdict(self), sort_keys=False, allow_unicode=True, width=120)


# Recipes by name and from YAML files; every mistake in one is told in a sentence.

RECIPES = Path(__file__).parent.parent / "recipes"


def recipe_names() -> list[str]:
    """List the recipes that mien brings."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def recipe_path(name: str | Path) -> Path:
    """Find a recipe by its name, or take a YAML file as it is.

    Raises:
        MienError: if there is neither; the sentence names the nearest recipes.
    """
    path = Path(name)
    if path.suffix.lower() in (".yaml", ".yml"):
        if not path.is_file():
            raise MienError(f"There is no recipe file {str(name)!r}; `mien recipes` lists the recipes that mien brings.")
        return path
    if str(name) in recipe_names():
        return RECIPES / f"{name}.yaml"
    near = difflib.get_close_matches(str(name).lower(), recipe_names(), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(recipe_names())}."
    raise MienError(f"There is no recipe {str(name)!r}; {hint} A file of yours ends in .yaml.")


def load_recipe(name: str | Path) -> Recipe:
    """Read a recipe by its name or from a YAML file.

    Raises:
        MienError: if it is not there, is not YAML, or has an unknown key or a value of another type.
    """
    path = recipe_path(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        place = getattr(problem, "problem_mark", None)
        where = f" in line {place.line + 1}" if place else ""
        raise MienError(f"The recipe {path} is not valid YAML{where}: {getattr(problem, 'problem', problem)}.") from None
    if not isinstance(content, dict):
        raise MienError(f"The recipe {path} must be keys and values, such as `epochs: 30`.")
    try:
        return recipe_from_dict(content)
    except MienError as problem:
        raise MienError(f"{path}: {problem}") from None


def recipe_from_dict(content: Mapping[str, Any]) -> Recipe:
    """Make a recipe from plain values, nested as in its YAML.

    Raises:
        MienError: if a key is unknown (the sentence names the nearest) or a value is of another type.
    """
    _check_keys(Recipe, content, "")
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--recipe", type=Recipe)
    try:
        namespace = parser.parse_object({"recipe": dict(content)})
        recipe: Recipe = parser.instantiate_classes(namespace).recipe
    except ArgumentError as problem:
        raise MienError(f"{in_plain_words(str(problem)).rstrip('.')}.") from None
    return recipe


def flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give nested keys with dots between them, and their values."""
    for key, value in content.items():
        yield from flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]


def telling_changes(recipe: Recipe, base: Recipe, name: str) -> Recipe:
    """Describe a recipe by the one that it was made of and what differs, so that no card claims what was changed.

    Args:
        recipe: the recipe as it is to be trained; one with a description of its own keeps it.
        base: the recipe before the changes.
        name: its name.
    """
    if recipe.description != base.description:
        return recipe
    before, now = (dict(flat(dataclasses.asdict(each))) for each in (base, recipe))
    changed = [f"{key} {_as_told(value)}" for key, value in now.items() if before.get(key) != value]
    return dataclasses.replace(recipe, description=f"{name} with {', '.join(changed)}") if changed else recipe


def _as_told(value: Any) -> str:
    """Write a value in words; of files and folders only the names, for the others are this machine's."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_as_told, value))}]"
    return shared_name(value) if isinstance(value, str) else json.dumps(value)


def shared_name(path: str) -> str:
    """Name a file or folder without the folders it lies in; the weights of a run by its name, one on the hub whole."""
    if is_on_hub(path):
        return path
    own = Path(path).resolve()
    return own.parent.name if own.name == "weights.safetensors" else own.name


def _check_keys(kind: type, content: Mapping[str, Any], prefix: str) -> None:
    known = {f.name: f for f in dataclasses.fields(kind)}
    for key, value in content.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"it has {', '.join(known)}."
            raise MienError(f"The recipe has no key {prefix}{key}; {hint}")
        inner = known[key].type
        if isinstance(inner, type) and dataclasses.is_dataclass(inner) and isinstance(value, Mapping):
            _check_keys(inner, value, f"{prefix}{key}.")
