"""Everything that decides the trained model, as one frozen dataclass and one YAML; no torch needed to read it."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from mien.arguments import in_plain_words
from mien.errors import MienError

RECIPES = Path(__file__).parent.parent / "recipes"


@dataclass(frozen=True)
class Optimizer:
    """How weights follow their gradients."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    """adamw (Loshchilov and Hutter, 2019), adam (Kingma and Ba, 2015), or sgd with Nesterov momentum."""
    learning_rate: float = 1e-3
    """The highest rate of the schedule."""
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
class Recipe:
    """Everything that decides the trained model; where it runs and where it is written are not part of it."""

    description: str = ""
    """One line for the list of recipes."""
    network: str = "compact_resnet"
    """A network of mien's; an unknown name is answered with the list."""
    dropout: float = 0.2
    """Share of activations dropped in training, where the network has dropout."""
    activation: Literal["relu", "leaky_relu", "swish", "mish"] = "relu"
    """The network's activation."""
    size: int = 48
    """Side of the faces in pixels."""
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
    batch_size: int = 128
    """Faces in a step."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    """How weights follow their gradients."""
    schedule: Schedule = field(default_factory=Schedule)
    """How the learning rate changes."""
    label_smoothing: float = 0.0
    """Share of each target spread over all labels (Szegedy et al., 2016)."""
    focal_gamma: float = 0.0
    """How much less an answer counts that is already right (focal loss; Lin et al., 2017); 0 is cross-entropy."""
    balance: Balance = field(default_factory=Balance)
    """What is done about rare labels."""
    ema: float = 0.0
    """Decay of the exponential moving average of the weights that is validated and exported; 0 for none."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Random changes of the training faces."""
    select_by: Literal["accuracy", "loss"] = "accuracy"
    """What the best epoch is chosen by, on validation."""
    early_stopping: int | None = None
    """Stop after so many epochs without a better one; never, if not given."""
    seed: int = 0
    """The same recipe, data, seed, machine and number of threads give the same weights, bit by bit on CPU."""

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("dropout", "label_smoothing", "ema")}
        for changes, prefix in ((self.augmentation, "augmentation"), (self.balance.copies, "balance.copies")):
            shares |= {f"{prefix}.{name}": getattr(changes, name) for name in ("flip", "blur", "erasing")}
        for name, share in shares.items():
            if not 0 <= share <= 1 or (share == 1 and "." not in name):
                raise MienError(f"The recipe's {name} must be a share between 0 and 1, not {share}.")
        if self.carve <= 0 or (isinstance(self.carve, float) and self.carve >= 1):
            raise MienError(f"The recipe's carve must be a share below 1 or a whole number of rows, not {self.carve}.")
        if self.focal_gamma < 0:
            raise MienError(f"The recipe's focal_gamma must be 0 or more, not {self.focal_gamma}.")
        for name in ("size", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise MienError(f"The recipe's {name} must be at least 1, not {getattr(self, name)}.")
        if self.seed < 0:
            raise MienError(f"The recipe's seed must be 0 or more, not {self.seed}.")
        if self.optimizer.learning_rate <= 0 or self.std <= 0:
            raise MienError("The recipe's optimizer.learning_rate and std must be above 0.")
        if self.early_stopping is not None and self.early_stopping < 1:
            raise MienError(f"The recipe's early_stopping must be at least 1 epoch, not {self.early_stopping}.")

    def to_yaml(self) -> str:
        """Write the recipe as the YAML that `load_recipe` reads."""
        return yaml.safe_dump(dataclasses.asdict(self), sort_keys=False, allow_unicode=True, width=120)


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
