"""Training steps and validation of one network, as hooks of Lightning's Trainer."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from mien.training.augmentation import mixed, place, worsen
from mien.training.batches import Batch, DeviceFaces, TrainingBatches, ValidationBatches, class_weights
from mien.training.distillation import Teachers, Views
from mien.training.face_network import FaceNetwork, measure_batch_norm, pixels
from mien.training.networks.blocks import head_of
from mien.training.optimization import (
    build_optimizer,
    build_schedule,
    classification_loss,
    distillation_loss,
    interpolate,
    moving_average,
    votes_loss,
    with_votes,
)
from mien.training.recipe import Augmentation, Recipe
from mien.training.transfer import head_only


class ClassificationTask(pl.LightningModule):
    """Training of one network by one recipe.

    Loss and accuracy of the first head are logged and select the best epoch. The random generator is seeded at the start of
    every epoch, so that an epoch depends only on the weights and the optimizer: a resumed run gives the same bits.

    Attributes:
        model: the network in training.
        average: its moving average, or None.
        start: a copy with the initial weights, or None.
        between: the interpolation of `start` and the trained network, or None.
    """

    label_weights: Tensor

    def __init__(
        self,
        model: FaceNetwork,
        recipe: Recipe,
        train: DeviceFaces,
        validation: DeviceFaces,
        teachers: Teachers | Views | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        nn.utils.convert_conv2d_weight_memory_format(model, torch.channels_last)  # 40% faster on a CPU
        self.average = AveragedModel(model, multi_avg_fn=moving_average(recipe.ema), use_buffers=True) if recipe.ema else None
        self.start = deepcopy(model).requires_grad_(False) if recipe.weights_share else None
        self.between = deepcopy(self.start)
        self.recipe, self.train_faces, self.validation_faces = recipe, train, validation
        self.views = teachers if isinstance(teachers, Views) else None
        # in a list, so that the teachers' weights are not part of this module and its checkpoints
        self.teachers = [teachers.to(train.device)] if isinstance(teachers, Teachers) else []
        counts = np.bincount(train.classes, minlength=train.targets.shape[1])
        self.register_buffer("label_weights", torch.from_numpy(class_weights(counts)), persistent=False)
        self.seen: list[tuple[Tensor, int, Tensor]] = []
        self.validated: list[tuple[Tensor, Tensor]] = []
        self.train_figures = {"train_loss": float("nan"), "train_accuracy": float("nan")}
        self.figures: dict[str, float] = {}
        self._schedule_state: dict[str, Any] = {}

    @property
    def best_model(self) -> FaceNetwork:
        """The network that is validated and exported."""
        return self._trained if self.between is None else self.between

    @property
    def _trained(self) -> FaceNetwork:
        """The trained network, averaged if the recipe says so."""
        if self.average is None:
            return self.model
        assert isinstance(self.average.module, FaceNetwork)
        return self.average.module

    def train_dataloader(self) -> TrainingBatches:
        """Return the batches of the current epoch; the Trainer calls this for every epoch."""
        self.batches = self._batches(self.views.of_epoch(self.current_epoch) if self.views else self.train_faces)
        return self.batches

    def _batches(self, faces: DeviceFaces) -> TrainingBatches:
        return TrainingBatches(faces, self.recipe.batch_size, self.recipe.seed, self.current_epoch, self.recipe.balance)

    def val_dataloader(self) -> ValidationBatches:
        """Return the validation batches."""
        return ValidationBatches(self.validation_faces)

    def configure_optimizers(self) -> Optimizer:
        """Build optimizer and schedule; this class steps the schedule, since Lightning steps plateau after it saves."""
        optimizer = build_optimizer(self.model, head_of(self.model.network), self.recipe.optimizer)
        steps = self.recipe.epochs * len(self._batches(self.train_faces))
        self.schedule = build_schedule(optimizer, self.recipe.schedule, steps)
        return optimizer

    def on_train_start(self) -> None:
        """Restore the schedule from the checkpoint."""
        if self.schedule is not None and self._schedule_state:
            self.schedule.load_state_dict(self._schedule_state)

    def on_train_epoch_start(self) -> None:
        """Seed dropout and augmentation, and freeze or unfreeze the backbone."""
        torch.manual_seed(self.recipe.seed * 100_003 + self.current_epoch)
        head_only(self.model.network, self.current_epoch < self.recipe.head_epochs)
        self.seen = []

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Compute the loss of one batch."""
        recipe = self.recipe
        with torch.no_grad():
            given = placed = faces = pixels(batch.faces)
            if not self.views:  # views are augmented already
                side = crop_side(recipe, self.current_epoch)
                placed = self._augmented(batch, lambda how: place(given, how, side))
                faces = self._augmented(batch, lambda how: worsen(placed, how))
            targets, votes = with_votes(batch.targets, batch.votes, recipe.votes.mix), batch.votes
            taught = [teachers(placed) for teachers in self.teachers] if batch.taught is None else [batch.taught]
            if recipe.mixup:
                faces, targets, votes, *taught = mixed(recipe.mixup, faces, targets, votes, *taught)
        logits = self.model.logits(faces)
        weights = self.label_weights if recipe.balance.class_weights else None
        losses = [classification_loss(logits[:, 0], targets, recipe.label_smoothing, weights, recipe.focal_gamma)]
        if recipe.votes.head:
            losses.append(recipe.votes.head * votes_loss(logits[:, 1], votes))
        if taught:
            losses = distilled(losses, logits, taught[0], recipe)
        loss = torch.stack(losses).sum()
        right = (logits[:, 0].detach().argmax(1) == targets.argmax(1)).sum()
        self.seen.append((loss.detach(), len(targets), right))
        return loss

    def _augmented(self, batch: Batch, change: Callable[[Augmentation], Tensor]) -> Tensor:
        """Apply the recipe's augmentation, and its own augmentation to copies that balance rare labels."""
        faces = change(self.recipe.augmentation)
        if batch.is_copy is not None:
            faces = torch.where(batch.is_copy.view(-1, 1, 1, 1), change(self.recipe.balance.copies), faces)
        return faces

    def on_train_batch_end(self, *_: object) -> None:
        """Update the average and the learning rate."""
        if self.average is not None:
            self.average.update_parameters(self.model)
        if isinstance(self.schedule, LambdaLR):
            self.schedule.step()

    def on_validation_epoch_start(self) -> None:
        """Prepare the network that is validated, and compute the figures of the training epoch."""
        self.validated = []
        if self.start is not None and self.between is not None:
            interpolate(self.between, self.start, self._trained, self.recipe.weights_share)
        # while only the head is trained, the backbone keeps its statistics
        if self.recipe.precise_batch_norm and self.current_epoch >= self.recipe.head_epochs:
            measure_batch_norm(self.best_model, self.train_faces)
        if self.seen:
            count = sum(n for _, n, _ in self.seen)
            self.train_figures = {
                "train_loss": float(torch.stack([loss * n for loss, n, _ in self.seen]).sum()) / count,
                "train_accuracy": float(torch.stack([right for _, _, right in self.seen]).sum()) / count,
            }

    def validation_step(self, batch: Batch, _: int) -> None:
        """Predict one batch of validation faces."""
        self.validated.append((self.best_model(batch.faces)[:, 0], batch.targets))

    def on_validation_epoch_end(self) -> None:
        """Compute the validation figures, and step the plateau schedule."""
        logits, targets = (torch.cat(parts) for parts in zip(*self.validated, strict=True))
        loss = float(F.cross_entropy(logits, targets))
        accuracy = float((logits.argmax(1) == targets.argmax(1)).float().mean())
        self.figures = {**self.train_figures, "validation_loss": loss, "validation_accuracy": accuracy}
        for name, value in self.figures.items():
            self.log(name, value)
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(loss)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the state of the schedule, which is plain values."""
        if self.schedule is not None:
            checkpoint["schedule"] = self.schedule.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of the schedule until it is built."""
        self._schedule_state = dict(checkpoint.get("schedule", {}))


def distilled(losses: Sequence[Tensor], logits: Tensor, taught: Tensor, recipe: Recipe) -> list[Tensor]:
    """Replace a share of each head's loss on the targets by the loss on the teachers' probabilities (N, heads, K), if any."""
    weight, temperature = recipe.distillation.weight, recipe.distillation.temperature
    shared = list(losses)
    for head in range(min(taught.shape[1], len(shared))):
        scale = recipe.votes.head if head else 1.0
        by_teachers = scale * distillation_loss(logits[:, head], taught[:, head], temperature)
        shared[head] = (1 - weight) * shared[head] + weight * by_teachers
    return shared


def crop_side(recipe: Recipe, epoch: int) -> int | None:
    """Return the side of the crop in an epoch, counted from 0, which grows from `crop_from` to `crop`; None for the whole face.

    Smaller faces first train faster and overfit less (progressive learning; Tan and Le, EfficientNetV2, 2021).
    """
    if recipe.crop_from is None:
        return recipe.crop
    grown = epoch / max(1, recipe.epochs - 1)
    return round(recipe.crop_from + grown * (recipe.seen - recipe.crop_from))
