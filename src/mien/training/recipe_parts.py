"""The parts of a recipe: what belongs together in it, a frozen dataclass each."""

from dataclasses import dataclass, field
from typing import Literal


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
