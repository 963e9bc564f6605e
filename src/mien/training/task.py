"""Training steps and validation of one network."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from mien.training.augmentation import mixed, place, worsen
from mien.training.batches import Batch, DeviceFaces, TrainingBatches, class_weights, in_order
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


class ClassificationTask:
    """Training of one network by one recipe, on the device of its training faces; the first head selects the best epoch."""

    def __init__(
        self,
        model: FaceNetwork,
        recipe: Recipe,
        train: DeviceFaces,
        validation: DeviceFaces,
        teachers: Teachers | Views | None = None,
    ) -> None:
        self.recipe, self.train_faces, self.validation_faces, self.teachers = recipe, train, validation, teachers
        self.model = model.to(train.device)
        nn.utils.convert_conv2d_weight_memory_format(model, torch.channels_last)  # 40% faster on a CPU
        self.average = AveragedModel(model, multi_avg_fn=moving_average(recipe.ema), use_buffers=True) if recipe.ema else None
        trained = model if self.average is None else self.average.module
        # with weights_share: the initial network, and the one between it and the trained network
        self.start = deepcopy(model).requires_grad_(False) if recipe.weights_share else None
        self.trained, self.best_model = trained, trained if self.start is None else deepcopy(self.start)
        self.optimizer = build_optimizer(model, head_of(model.network), recipe.optimizer)
        self.schedule = build_schedule(self.optimizer, recipe.schedule, recipe.epochs * len(self._batches(train, 0)))
        self.autocast = torch.autocast("cuda", torch.bfloat16, enabled=train.device.type == "cuda")  # slower on most CPUs
        counts = np.bincount(train.classes, minlength=train.targets.shape[1])
        self.label_weights = torch.from_numpy(class_weights(counts)).to(train.device)

    def _batches(self, faces: DeviceFaces, epoch: int) -> TrainingBatches:
        return TrainingBatches(faces, self.recipe.batch_size, self.recipe.seed, epoch, self.recipe.balance)

    def start_epoch(self, epoch: int) -> TrainingBatches:
        """Seed dropout and augmentation, freeze or unfreeze the backbone, and return the batches; epochs count from 0."""
        faces = self.teachers.of_epoch(epoch) if isinstance(self.teachers, Views) else self.train_faces
        torch.manual_seed(self.recipe.seed * 100_003 + epoch)  # so that a resumed run gives the same bits
        head_only(self.model.network, epoch < self.recipe.head_epochs)
        self.epoch = epoch
        self.seen: list[tuple[int, Tensor, Tensor]] = []  # rows, loss and right predictions of every batch
        return self._batches(faces, epoch)

    def step(self, batch: Batch) -> None:
        """Update the weights, their average and the learning rate."""
        with self.autocast:
            loss = self.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        if isinstance(self.schedule, LambdaLR):
            self.schedule.step()

    def loss(self, batch: Batch) -> Tensor:
        """Compute the loss of one batch."""
        recipe = self.recipe
        with torch.no_grad():
            given = placed = faces = pixels(batch.faces)
            if not isinstance(self.teachers, Views):  # views are augmented already
                side = crop_side(recipe, self.epoch)
                placed = self._augmented(batch, lambda how: place(given, how, side))
                faces = self._augmented(batch, lambda how: worsen(placed, how))
            targets, votes = with_votes(batch.targets, batch.votes, recipe.votes.mix), batch.votes
            taught = [] if batch.taught is None else [batch.taught]
            if isinstance(self.teachers, Teachers):
                taught = [self.teachers(placed)]
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
        self.seen.append((len(targets), loss.detach(), (logits[:, 0].detach().argmax(1) == targets.argmax(1)).sum()))
        return loss

    def _augmented(self, batch: Batch, change: Callable[[Augmentation], Tensor]) -> Tensor:
        """Apply the recipe's augmentation, and its own augmentation to copies that balance rare labels."""
        faces = change(self.recipe.augmentation)
        if batch.is_copy is not None:
            faces = torch.where(batch.is_copy.view(-1, 1, 1, 1), change(self.recipe.balance.copies), faces)
        return faces

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """Finish an epoch: return its training and validation figures, and step a plateau schedule."""
        if self.start is not None:
            interpolate(self.best_model, self.start, self.trained, self.recipe.weights_share)
        # while only the head is trained, the backbone keeps its statistics
        if self.recipe.precise_batch_norm and self.epoch >= self.recipe.head_epochs:
            measure_batch_norm(self.best_model, self.train_faces)
        self.best_model.eval()
        with self.autocast:
            parts = [(self.best_model(batch.faces)[:, 0], batch.targets) for batch in in_order(self.validation_faces)]
        logits, targets = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        loss = float(F.cross_entropy(logits, targets))
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(loss)
        count = sum(rows for rows, _, _ in self.seen)
        return {
            "train_loss": float(torch.stack([loss * rows for rows, loss, _ in self.seen]).sum()) / count,
            "train_accuracy": float(torch.stack([right for _, _, right in self.seen]).sum()) / count,
            "validation_loss": loss,
            "validation_accuracy": float((logits.argmax(1) == targets.argmax(1)).float().mean()),
        }

    @property
    def _stateful(self) -> dict[str, Any]:
        parts = {name: getattr(self, name) for name in ("model", "average", "start", "optimizer", "schedule")}
        return {name: part for name, part in parts.items() if part is not None}

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        return {name: part.state_dict() for name, part in self._stateful.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, part in self._stateful.items():
            part.load_state_dict(state[name])


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
    """Return the side of the crop in an epoch, counted from 0 (progressive learning; Tan and Le, EfficientNetV2, 2021)."""
    if recipe.crop_from is None:
        return recipe.crop
    return round(recipe.crop_from + epoch / max(1, recipe.epochs - 1) * (recipe.seen - recipe.crop_from))
