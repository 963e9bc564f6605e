"""What happens in a training step and in a validation, for Lightning's Trainer to repeat."""

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
from mien.training.losses import classification_loss, distillation_loss, votes_loss, with_votes
from mien.training.networks.blocks import head_of
from mien.training.optimization import build_optimizer, build_schedule, interpolate, moving_average
from mien.training.recipe import Augmentation, Recipe
from mien.training.transfer import head_only


class ClassificationTask(pl.LightningModule):
    """Training of one network by one recipe.

    The first head is what training is judged by: its loss and accuracy are logged, and choose the best epoch.

    Random numbers are seeded anew at the start of every epoch, so that what an epoch does depends on nothing before
    it but the weights and the optimizer: a resumed run repeats an unbroken one bit by bit.

    Attributes:
        model: the network in training.
        average: its moving average, or None.
        start: the network as it was when training began, or None.
        between: what lies between `start` and what training came to, or None.
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
        # in a list, so that the teachers' weights are no part of this module and its checkpoints
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
        """What training has come to."""
        if self.average is None:
            return self.model
        assert isinstance(self.average.module, FaceNetwork)
        return self.average.module

    def train_dataloader(self) -> TrainingBatches:
        """Give the batches of the current epoch; the Trainer asks anew for every epoch."""
        self.batches = self._batches(self.views.of_epoch(self.current_epoch) if self.views else self.train_faces)
        return self.batches

    def _batches(self, faces: DeviceFaces) -> TrainingBatches:
        return TrainingBatches(faces, self.recipe.batch_size, self.recipe.seed, self.current_epoch, self.recipe.balance)

    def val_dataloader(self) -> ValidationBatches:
        """Give the validation rows."""
        return ValidationBatches(self.validation_faces)

    def configure_optimizers(self) -> Optimizer:
        """Build optimizer and schedule; the schedule is stepped by this class, since Lightning steps plateau after it saves."""
        optimizer = build_optimizer(self.model, head_of(self.model.network), self.recipe.optimizer)
        steps = self.recipe.epochs * len(self._batches(self.train_faces))
        self.schedule = build_schedule(optimizer, self.recipe.schedule, steps)
        return optimizer

    def on_train_start(self) -> None:
        """Take the schedule up where the checkpoint left it."""
        if self.schedule is not None and self._schedule_state:
            self.schedule.load_state_dict(self._schedule_state)

    def on_train_epoch_start(self) -> None:
        """Seed what dropout and augmentation draw from, and settle which part of the network learns."""
        torch.manual_seed(self.recipe.seed * 100_003 + self.current_epoch)
        head_only(self.model.network, self.current_epoch < self.recipe.head_epochs)
        self.seen = []

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Learn from one batch."""
        recipe = self.recipe
        with torch.no_grad():
            placed = self._placed(batch)
            faces = placed if self.views else self._worsened(placed, batch)
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

    def _placed(self, batch: Batch) -> Tensor:
        """Lay the faces of a batch in their squares; views lie already."""
        faces, side = pixels(batch.faces), crop_side(self.recipe, self.current_epoch)
        return faces if self.views else self._by_kind(batch, lambda how: place(faces, how, side))

    def _worsened(self, faces: Tensor, batch: Batch) -> Tensor:
        """Change their light, focus and noise."""
        return self._by_kind(batch, lambda how: worsen(faces, how))

    def _by_kind(self, batch: Batch, change: Callable[[Augmentation], Tensor]) -> Tensor:
        """Change faces by the rules of the recipe, copies that balance rare labels by their own."""
        faces = change(self.recipe.augmentation)
        if batch.is_copy is not None:
            faces = torch.where(batch.is_copy.view(-1, 1, 1, 1), change(self.recipe.balance.copies), faces)
        return faces

    def on_train_batch_end(self, *_: object) -> None:
        """Move the average and the learning rate."""
        if self.average is not None:
            self.average.update_parameters(self.model)
        if isinstance(self.schedule, LambdaLR):
            self.schedule.step()

    def on_validation_epoch_start(self) -> None:
        """Make the network that is validated, sum up the training epoch, and start counting afresh."""
        self.validated = []
        if self.start is not None and self.between is not None:
            interpolate(self.between, self.start, self._trained, self.recipe.weights_share)
        # while the head learns alone, it learns from a backbone with the statistics that it has
        if self.recipe.precise_batch_norm and self.current_epoch >= self.recipe.head_epochs:
            measure_batch_norm(self.best_model, self.train_faces)
        if self.seen:
            count = sum(n for _, n, _ in self.seen)
            self.train_figures = {
                "train_loss": float(torch.stack([loss * n for loss, n, _ in self.seen]).sum()) / count,
                "train_accuracy": float(torch.stack([right for _, _, right in self.seen]).sum()) / count,
            }

    def validation_step(self, batch: Batch, _: int) -> None:
        """Answer one batch of validation faces."""
        self.validated.append((self.best_model(batch.faces)[:, 0], batch.targets))

    def on_validation_epoch_end(self) -> None:
        """Sum up validation, and let the plateau schedule see it."""
        logits, targets = (torch.cat(parts) for parts in zip(*self.validated, strict=True))
        loss = float(F.cross_entropy(logits, targets))
        accuracy = float((logits.argmax(1) == targets.argmax(1)).float().mean())
        self.figures = {**self.train_figures, "validation_loss": loss, "validation_accuracy": accuracy}
        for name, value in self.figures.items():
            self.log(name, value)
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(loss)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the schedule's state, which is plain values."""
        if self.schedule is not None:
            checkpoint["schedule"] = self.schedule.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Hold the schedule's state until there is a schedule."""
        self._schedule_state = dict(checkpoint.get("schedule", {}))


def distilled(losses: Sequence[Tensor], logits: Tensor, taught: Tensor, recipe: Recipe) -> list[Tensor]:
    """Share the loss of every head between its targets and what teachers answered, where these have that head.

    Args:
        losses: of each head, on the targets.
        logits: (N, heads, K), the student's.
        taught: (N, heads, K), the teachers' probabilities; of the first head only, where they have but one.
        recipe: says how much comes from the teachers, and at what temperature.
    """
    weight, temperature = recipe.distillation.weight, recipe.distillation.temperature
    shared = list(losses)
    for head in range(min(taught.shape[1], len(shared))):
        scale = recipe.votes.head if head else 1.0
        by_teachers = scale * distillation_loss(logits[:, head], taught[:, head], temperature)
        shared[head] = (1 - weight) * shared[head] + weight * by_teachers
    return shared


def crop_side(recipe: Recipe, epoch: int) -> int | None:
    """Give the side of what is cropped in an epoch, counted from 0: growing from `crop_from` to `crop`; None for all.

    Small squares first train faster and less by heart (progressive learning; Tan and Le, EfficientNetV2, 2021).
    """
    if recipe.crop_from is None:
        return recipe.crop
    grown = epoch / max(1, recipe.epochs - 1)
    return round(recipe.crop_from + grown * (recipe.seen - recipe.crop_from))
