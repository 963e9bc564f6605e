"""Everything that decides the trained model, as one frozen dataclass and one YAML; no torch needed to read it."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from mien.errors import MienError
from mien.training.recipe_parts import Augmentation, Balance, Distillation, Optimizer, Schedule, Votes

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
