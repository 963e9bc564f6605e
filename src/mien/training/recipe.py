"""Everything that decides the trained model, as one frozen dataclass and one YAML; no torch needed to read it."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from mien.errors import MienError

TIMM, HUB = "timm:", "hub"
"""How a recipe names a network of timm, and weights that timm knows where to find."""


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
    """A network of mien's, or timm:<name> for any of timm's; an unknown name is answered with the nearest."""
    network_options: dict[str, Any] | None = None
    """What else timm is told about its network, such as {"pad_type": "same"}."""
    weights: str | None = None
    """Weights to start from: a .safetensors file of that network, or hub, for those that timm names; fresh, if not given."""
    dropout: float = 0.2
    """Share of activations dropped in training, where the network has dropout."""
    activation: Literal["relu", "leaky_relu", "swish", "mish"] = "relu"
    """The network's activation; timm's networks have their own."""
    size: int = 48
    """Side of the faces in pixels."""
    enlarge_to: int | None = None
    """Side to which the faces are enlarged in front of the network, inside the model; not at all, if not given."""
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
        if self.optimizer.backbone_rate <= 0:
            raise MienError("The recipe's optimizer.backbone_rate must be above 0; head_epochs keeps a backbone as it is.")
        if self.enlarge_to is not None and self.enlarge_to < self.size:
            raise MienError(f"The recipe's enlarge_to must be at least its size, {self.size}, not {self.enlarge_to}.")
        if not 0 <= self.head_epochs <= self.epochs:
            raise MienError(
                f"The recipe's head_epochs must be between 0 and its epochs, {self.epochs}, not {self.head_epochs}."
            )
        if not self.network.startswith(TIMM) and (self.network_options or self.weights == HUB):
            raise MienError(f"network_options and weights from the hub are for timm's networks, not for {self.network}.")
        if self.early_stopping is not None and self.early_stopping < 1:
            raise MienError(f"The recipe's early_stopping must be at least 1 epoch, not {self.early_stopping}.")

    @property
    def network_size(self) -> int:
        """Side in pixels of what the network sees."""
        return self.enlarge_to or self.size

    def to_yaml(self) -> str:
        """Write the recipe as the YAML that `load_recipe` reads."""
        return yaml.safe_dump(dataclasses.asdict(self), sort_keys=False, allow_unicode=True, width=120)
