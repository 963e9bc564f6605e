"""Everything that determines the trained model: one frozen dataclass, one YAML file. Needs no torch."""

import dataclasses
import importlib
import inspect
import json
import operator
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import formatannotation
from pathlib import Path
from typing import Any, Literal, cast

import yaml

from mien.errors import MienError, first_line, full_name, in_plain_words, load_table, shortened, suggestion
from mien.files import FileKind, check_place, sweep
from mien.inference.model_file import ON_HUB, UNFINISHED
from mien.inputs import LARGEST_YAML, parse_yaml, read_text, wrong_value

RECIPES = Path(__file__).parent.parent / "recipes"
TIMM, HUB = "timm:", "hub"  # prefix of timm's networks in `Recipe.network`; `Recipe.weights` for timm's pretrained weights
FIRST_LINE = "# what mien trained here; data: "  # of a run's recipe.yaml, before the fingerprint of the training rows
RUN_RECIPE = FileKind("the recipe of a run", r"\A" + FIRST_LINE)
RANGES, MISTAKES = load_table(__file__, "ranges"), load_table(__file__, "mistakes")
LIMITS: dict[str, Callable[[Any, Any], bool]] = {"least": operator.ge, "above": operator.gt, "most": operator.le}
LIMITS |= {"below": operator.lt, "share below": lambda number, limit: isinstance(number, int) or number < limit}


@dataclass(frozen=True)
class Optimizer:
    """The optimizer and its settings."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    """adamw (Loshchilov and Hutter, 2019), adam (Kingma and Ba, 2015), or sgd with Nesterov momentum."""
    learning_rate: float = 1e-3
    """Highest learning rate of the schedule."""
    backbone_rate: float = 1.0
    """Factor on the learning rate of all layers except the classification head; below 1 for a pretrained backbone."""
    weight_decay: float = 1e-2
    """Decay of convolution and linear weights; biases and normalisation layers do not decay."""
    momentum: float = 0.9
    """Momentum of sgd; the other optimizers ignore it."""


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes during training."""

    name: Literal["constant", "plateau", "cosine", "one_cycle"] = "constant"
    """plateau: times `factor` after `patience` epochs without a lower validation loss; cosine: falls to zero; one_cycle: rises
    linearly, then falls to zero along a cosine (Smith and Topin, 2018)."""
    warmup: float = 0.2
    """Share of the steps during which one_cycle rises."""
    factor: float = 0.5
    """Factor of plateau."""
    patience: int = 10
    """Epochs without a lower validation loss before plateau lowers the rate."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of the training faces, drawn separately for each face and epoch."""

    flip: float = 0.5
    """Probability of a horizontal flip."""
    rotation: float = 0.0
    """Largest rotation in either direction, in degrees."""
    translation: float = 0.0
    """Largest shift in either direction, as a share of the side."""
    scale: float = 0.0
    """Largest relative change of size, up or down."""
    brightness: float = 0.0
    """Largest change of brightness, up or down, where white is 1."""
    contrast: float = 0.0
    """Largest relative change of contrast, up or down."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise, where white is 1."""
    blur: float = 0.0
    """Probability of a lower resolution, as of a distant face: resampled to between a third and all of its side."""
    degradation: float = 0.0
    """Probability of a poor camera: defocus of up to 1/32 of the side, and noise of up to a tenth of white."""
    erasing: float = 0.0
    """Probability of covering a random rectangle, 2 to 20% of the face (Zhong et al., 2020)."""
    function: str | None = None
    """Last, module:name of your own function of faces on the device, float32 (N, C, S, S), about 0 to 1, to the same shape."""


@dataclass(frozen=True)
class Balance:
    """How rare labels are balanced; every option works with every network."""

    sampler: bool = False
    """Draw faces with replacement, each label equally often."""
    class_weights: bool = False
    """Weight the loss of each label by the inverse of its frequency."""
    augment_minorities: bool = False
    """Add augmented copies of the faces of rarer labels until each label has as many as the largest; the originals stay."""
    copies: Augmentation = field(default_factory=lambda: Augmentation(rotation=15, translation=0.1, scale=0.1, brightness=0.1))
    """Augmentation of those copies, drawn again in every epoch."""


@dataclass(frozen=True)
class Votes:
    """How crowd votes are used, where the data have them in addition to labels (FER+; Barsoum et al., 2016)."""

    head: float = 0.0
    """Weight of the loss of a second head that predicts the votes; 0 for no second head."""
    mix: float = 0.0
    """Share of the votes in the targets of the first head; 0 for the labels alone."""


@dataclass(frozen=True)
class Distillation:
    """Learning from trained networks (Hinton et al., 2015)."""

    teachers: list[str] = field(default_factory=list)
    """Folders of finished runs; the mean of their probabilities is used."""
    weight: float = 0.7
    """Share of the teachers' predictions in the loss; the rest is the loss on the targets."""
    temperature: float = 1.0
    """Divisor of the logits of the teachers and the student."""
    views: int = 0
    """Augmented views of each face predicted once before training, which suits large teachers on a CPU; 0: in every step."""


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the trained model; device and output folder are not part of it."""

    description: str = ""
    """One line for the list of recipes."""
    network: str = "compact_resnet"
    """Name of a network of mien, timm:<name> for a network of timm, or module:name for a function or class of your own."""
    network_options: dict[str, Any] | None = None
    """Options of the network: {"squeeze_excitation": true} for compact_resnet, arguments for others and timm.create_model."""
    weights: str | None = None
    """Initial weights of the same network: a run folder, a model (mien-s, a file, hf:owner/name) or a .safetensors file; or hub
    for timm's pretrained weights. Default: random weights."""
    weights_share: float = 0.0
    """Share of the initial weights in the validated and exported network (WiSE-FT; Wortsman et al., 2022); 0 for none."""
    dropout: float = 0.2
    """Dropout rate, where the network has dropout."""
    activation: Literal["relu", "leaky_relu", "swish", "mish"] = "relu"
    """Activation function; timm's networks ignore it."""
    size: int = 48
    """Side of the faces in pixels."""
    enlarge_to: int | None = None
    """Side in pixels to which the model enlarges the faces before the network. Default: no enlargement."""
    crop: int | None = None
    """Side of the square that the network sees: the centre of the face, in training a random part. Default: the whole face."""
    crop_from: int | None = None
    """Side of that square in the first epoch; it grows to `crop` in the last epoch. Default: `crop` in every epoch."""
    channels: Literal[1, 3] = 1
    """1 for gray, 3 for colour; images are converted to it."""
    mean: float = 0.5
    """Subtracted from pixels between 0 and 1."""
    std: float = 0.5
    """Divisor of the pixels after that."""
    keep: list[str] | None = None
    """Labels to keep, in this order; rows with other labels are dropped. Default: all."""
    merge: dict[Any, Any] | None = None
    """What becomes of labels, before `keep`: {negative: [angry, sad]} merges, {joy: happy} renames, {contempt: null} leaves
    out."""
    carve: int | float = 0.1
    """Training rows of each label that become validation rows if the data have none: a share, or a whole number of rows."""
    own_validation: bool = True
    """Use the validation rows of the data; if false, these become test rows and validation is carved from training."""
    epochs: int = 30
    """Passes over the training faces."""
    head_epochs: int = 0
    """Number of first epochs, or all, in which only the classification head is trained and the backbone is frozen."""
    batch_size: int = 128
    """Faces per step."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    votes: Votes = field(default_factory=Votes)
    distillation: Distillation = field(default_factory=Distillation)
    mixup: float = 0.0
    """Both parameters of the Beta distribution of mixup, which blends pairs of faces (Zhang et al., 2018); 0 for no mixup."""
    label_smoothing: float = 0.0
    """Share of each target that is spread over all labels (Szegedy et al., 2016)."""
    focal_gamma: float = 0.0
    """Exponent of the focal loss, which gives easy faces less weight (Lin et al., 2017); 0 is cross-entropy."""
    balance: Balance = field(default_factory=Balance)
    ema: float = 0.0
    """Decay of an exponential moving average of the weights, which is validated and exported; 0 for no average."""
    precise_batch_norm: bool = False
    """Recompute BatchNorm statistics before every validation, on training faces without augmentation (Wu and Johnson, 2021)."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    select_by: Literal["accuracy", "loss", "last"] = "accuracy"
    """Epoch that is exported: the one with the highest validation accuracy or the lowest validation loss, or the last one."""
    early_stopping: int | None = None
    """Stop after this many epochs without improvement. Default: never."""
    seed: int = 0
    """Random seed. The same recipe, data, seed, machine and number of threads give the same weights, bit by bit on CPU."""

    def __post_init__(self) -> None:
        _check_types(self)
        for each in RANGES:
            given = each["limits"].items()
            limits = [(LIMITS[name], getattr(self, limit) if isinstance(limit, str) else limit) for name, limit in given]
            for key in each["keys"].split():
                value = operator.attrgetter(key)(self)
                if value is not None and not all(holds(value, limit) for holds, limit in limits):
                    raise MienError(f"The recipe's {key} must be {each['rule'].format(recipe=self)}, not {shortened(value)}.")
        if self.distillation.views and (self.crop_from is not None or self.balance.augment_minorities):
            raise MienError("The recipe's distillation.views must be 0 with crop_from or balance.augment_minorities.")
        if self.weights == HUB and not self.network.startswith(TIMM):
            raise MienError(f"Weights from the hub are for timm's networks, not for {self.network}; name a run, model or file.")
        if self.weights_share and self.weights in (None, HUB):
            raise MienError("The recipe's weights_share needs weights for the same labels: name a run with --recipe.weights.")
        if self.early_stopping is not None and self.select_by == "last":
            raise MienError("The recipe's early_stopping cannot be used with select_by last; remove one of them.")

    @property
    def seen(self) -> int:
        """Side in pixels of the part of a face that the network sees."""
        return self.crop or self.size

    @property
    def network_size(self) -> int:
        """Side in pixels of the network's input: that part, enlarged if the recipe says so."""
        return self.enlarge_to or self.seen

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the network's heads: label, and crowd if there is a second head."""
        return ("label", "crowd") if self.votes.head else ("label",)

    def to_yaml(self) -> str:
        """Return the recipe as YAML, as read by `load_recipe`."""
        return yaml.safe_dump(dataclasses.asdict(self), sort_keys=False, allow_unicode=True, width=120)


def _check_types(part: Any, prefix: str = "") -> None:
    for each in dataclasses.fields(part):
        value, name = getattr(part, each.name), prefix + each.name
        if wrong_value(value, each.type) or dataclasses.is_dataclass(each.type) != dataclasses.is_dataclass(value):
            raise MienError(f"The recipe's {name} must be {formatannotation(each.type)}, not {shortened(value, form=repr)}.")
        if dataclasses.is_dataclass(value):
            _check_types(value, f"{name}.")


def check_folds(recipe: Recipe, processes: int) -> None:
    """Reject recipes that need the rows of a fold while training without it."""
    holds = {
        "processes": processes > 1 or "WORLD_SIZE" in os.environ,
        "early stopping": recipe.early_stopping,
        "plateau": recipe.schedule.name == "plateau",
        "teachers": recipe.distillation.teachers,
        "heads": recipe.votes.head,
    }
    if reasons := [why for name, why in MISTAKES["no folds"].items() if holds[name]]:
        raise MienError(f"--folds cannot be used with {reasons[0]}.")


def load_own(name: str | Callable[..., Any]) -> Any:
    """Import a user's function or class, module:name, also from the current folder; what is not a name is returned."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # the module may be a file of the user's, but hides no installed one
    with _own_mistakes(name, "own name"):
        return pkgutil.resolve_name(name) if isinstance(name, str) else name


def call_own(name: str | Callable[..., Any], *arguments: Any, known: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """Call a user's function or class with those of the `known` values that it has parameters for."""
    function = load_own(name)
    with _own_mistakes(name, "own code"):
        named = {key: known[key] for key in inspect.signature(function).parameters if key in known} if known else {}
        return function(*arguments, **named, **options)


@contextmanager
def _own_mistakes(name: object, mistake: str) -> Iterator[None]:
    try:
        yield
    except Exception as problem:  # whatever the module does
        *_, line = traceback.extract_tb(problem.__traceback__)
        is_own = line.filename not in (pkgutil.__file__, importlib.__file__, __file__) and not line.filename.startswith("<")
        place = f", in line {line.lineno} of {line.filename}" if is_own else ""
        raise MienError(MISTAKES[mistake].format(name, type(problem).__name__, first_line(problem), place)) from problem


def recipe_names() -> list[str]:
    """List the names of mien's recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def recipe_path(name: str | Path) -> Path:
    """Return the path of one of mien's recipes, or of a YAML file."""
    path = Path(name)
    if path.suffix.lower() in (".yaml", ".yml"):
        if not path.is_file():
            raise MienError(f"There is no recipe file {str(name)!r}; run `mien recipes` for the list of mien's recipes.")
        return path
    if str(name) in (names := recipe_names()):
        return RECIPES / f"{name}.yaml"
    hint = suggestion(str(name).lower(), names, f"the recipes are {', '.join(names)}.", most=3, cutoff=0.5)
    raise MienError(f"There is no recipe {str(name)!r}; {hint} The name of a recipe file of your own must end in .yaml.")


def load_recipe(name: str | Path) -> Recipe:
    """Load a recipe.

    Args:
        name: name of one of mien's recipes, or path of a YAML file, whose key `extends` may name a recipe to change.

    Raises:
        MienError: if the recipe does not exist, is not valid YAML, or has an unknown key or a wrong value.
    """
    return _load(recipe_path(name))


def _load(path: Path, above: tuple[Path, ...] = ()) -> Recipe:
    content, base = parse_yaml(read_text(path, f"the recipe {path}", LARGEST_YAML), f"The recipe {path}"), Recipe()
    try:
        if (name := content.pop("extends", Ellipsis)) is not Ellipsis:
            if not isinstance(name, str) or path.resolve() in above:
                raise MienError(MISTAKES["extends"])
            base_path = recipe_path(path.parent / name if name.lower().endswith((".yaml", ".yml")) else name)
            base = _load(base_path, (*above, path.resolve()))  # first, so that its mistakes are reported as its own
        recipe = recipe_from_dict(content, base)
    except MienError as problem:
        raise MienError(f"{path}: {problem}") from None
    return recipe if name is Ellipsis else describe_overrides(recipe, base, base_path.stem, "network_options" in content)


def check_run_folder(out: Path, resume: bool) -> None:
    """Raise a MienError unless a run can be started in this folder, or resumed there."""
    check_place(out)
    is_run = RUN_RECIPE.matches(out / "recipe.yaml") or all((out / name).is_file() for name in UNFINISHED)
    if os.path.lexists(out) and not resume:
        raise MienError(f"{out} exists; choose another --out{', or add --resume to continue that run' if is_run else ''}.")
    sweep(out)
    if os.path.lexists(out) and not is_run and (not out.is_dir() or any(out.iterdir())):
        raise MienError(f"{out} is not a run folder (it has no recipe.yaml of a run); choose another --out.")


def recipe_from_dict(content: Mapping[str, Any], base: Recipe = Recipe()) -> Recipe:
    """Change a recipe by plain values, nested as in YAML; unknown keys and values of a wrong type are errors."""
    _check_keys(content, dataclasses.asdict(Recipe()))
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--recipe", type=Recipe, default=base)
    try:
        return cast(Recipe, parser.instantiate_classes(parser.parse_object({"recipe": dict(content)})).recipe)
    except ArgumentError as problem:
        raise MienError(f"{in_plain_words(str(problem)).rstrip('.')}.") from None


def _check_keys(content: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> None:
    for key, value in content.items():
        if key not in known:
            meant = full_name(str(key), dict(flat(known)))
            near = suggestion(str(key), known, f"the keys are {', '.join(known)}.", f"did you mean {prefix}{{}}?")
            hint = f"did you mean {prefix}{meant}?" if meant else near
            raise MienError(f"The recipe has no key {prefix}{key}; {hint}")
        if isinstance(known[key], dict):
            if not isinstance(value, Mapping):
                raise MienError(f"The recipe's {prefix}{key} must have keys and values, not {json.dumps(value)}; or remove it.")
            _check_keys(value, known[key], f"{prefix}{key}.")


def flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the items of a nested mapping, with keys joined by dots."""
    for key, value in content.items():
        yield from flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]


def describe_overrides(recipe: Recipe, base: Recipe, name: str, has_options: bool = False) -> Recipe:
    """Describe a recipe by its base's name and the changed keys, and drop options that belong to the base's network."""
    if recipe.network != base.network and not has_options and recipe.network_options == base.network_options:
        recipe = dataclasses.replace(recipe, network_options=None)  # those of the base are for its network
    if recipe.description != base.description:
        return recipe
    before, now = (dict(flat(dataclasses.asdict(each))) for each in (base, recipe))
    changed = [f"{key} {_value_text(value)}" for key, value in now.items() if before.get(key) != value]
    return dataclasses.replace(recipe, description=f"{name} with {', '.join(changed)}") if changed else recipe


def _value_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value_text, value))}]"
    return shared_name(value) if isinstance(value, str) else json.dumps(value)


def shared_name(path: str) -> str:
    """Return the name of a file or run folder without the folders of this machine; names on the hub stay whole."""
    if path.startswith(ON_HUB):
        return path
    own = Path(path).resolve()
    return own.parent.name if own.name == "weights.safetensors" else own.name
