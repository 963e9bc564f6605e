"""What happens in a training step and in a validation, for Lightning's Trainer to repeat."""

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from mien.data.balance import class_weights
from mien.training.augmentation import augment
from mien.training.batches import Batch, DeviceFaces, TrainingBatches, ValidationBatches
from mien.training.loss import classification_loss
from mien.training.optimization import build_optimizer, build_schedule
from mien.training.recipe import Recipe
from mien.training.transfer import head_of, head_only


class FaceNetwork(nn.Module):
    """A network with the normalisation of its faces in front: uint8 faces to logits.

    Attributes:
        network: float32 (N, C, H, W) to logits (N, K).
        enlarge_to: H and W of what the network sees; None to leave the faces as they are.
    """

    def __init__(self, network: nn.Module, mean: float, std: float, enlarge_to: int | None = None) -> None:
        super().__init__()
        self.network, self.mean, self.std, self.enlarge_to = network, mean, std, enlarge_to

    def forward(self, faces: Tensor) -> Tensor:
        """Map uint8 faces (N, H, W) or (N, H, W, 3) to logits (N, K)."""
        return self.logits(pixels(faces))

    def logits(self, faces: Tensor) -> Tensor:
        """Map float32 faces (N, C, H, W) between 0 and 1 to logits (N, K)."""
        normalised = (faces - self.mean) / self.std
        if self.enlarge_to is not None:
            sides = (self.enlarge_to, self.enlarge_to)
            normalised = F.interpolate(normalised, sides, mode="bilinear", align_corners=False)
        logits: Tensor = self.network(normalised.contiguous(memory_format=torch.channels_last))
        return logits


def pixels(faces: Tensor) -> Tensor:
    """Turn uint8 faces (N, H, W) or (N, H, W, 3) into float32 (N, C, H, W) between 0 and 1."""
    planes = faces.unsqueeze(1) if faces.ndim == 3 else faces.permute(0, 3, 1, 2)
    return planes.float() / 255


class ClassificationTask(pl.LightningModule):
    """Training of one network by one recipe.

    Random numbers are seeded anew at the start of every epoch, so that what an epoch does depends on nothing before
    it but the weights and the optimizer: a resumed run repeats an unbroken one bit by bit.

    Attributes:
        model: the network in training.
        average: its moving average, or None; what is validated and exported where there is one.
    """

    label_weights: Tensor

    def __init__(self, model: FaceNetwork, recipe: Recipe, train: DeviceFaces, validation: DeviceFaces) -> None:
        super().__init__()
        self.model = model
        nn.utils.convert_conv2d_weight_memory_format(model, torch.channels_last)  # 40% faster on a CPU
        self.average = AveragedModel(model, multi_avg_fn=_moving_average(recipe.ema), use_buffers=True) if recipe.ema else None
        self.recipe, self.train_faces, self.validation_faces = recipe, train, validation
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
        if self.average is None:
            return self.model
        assert isinstance(self.average.module, FaceNetwork)
        return self.average.module

    def train_dataloader(self) -> TrainingBatches:
        """Give the batches of the current epoch; the Trainer asks anew for every epoch."""
        self.batches = TrainingBatches(
            self.train_faces, self.recipe.batch_size, self.recipe.seed, self.current_epoch, self.recipe.balance
        )
        return self.batches

    def val_dataloader(self) -> ValidationBatches:
        """Give the validation rows."""
        return ValidationBatches(self.validation_faces)

    def configure_optimizers(self) -> Optimizer:
        """Build optimizer and schedule; the schedule is stepped by this class, since Lightning steps plateau after it saves."""
        optimizer = build_optimizer(self.model, head_of(self.model.network), self.recipe.optimizer)
        steps = self.recipe.epochs * len(self.train_dataloader())
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

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> Tensor:
        """Learn from one batch."""
        faces, targets, is_copy = batch
        with torch.no_grad():
            plain = pixels(faces)
            faces = augment(plain, self.recipe.augmentation)
            if is_copy.any():
                copies = augment(plain, self.recipe.balance.copies)
                faces = torch.where(is_copy.view(-1, 1, 1, 1), copies, faces)
        logits = self.model.logits(faces)
        weights = self.label_weights if self.recipe.balance.class_weights else None
        loss = classification_loss(logits, targets, self.recipe.label_smoothing, weights, self.recipe.focal_gamma)
        right = (logits.detach().argmax(1) == targets.argmax(1)).sum()
        self.seen.append((loss.detach(), len(targets), right))
        return loss

    def on_train_batch_end(self, *_: object) -> None:
        """Move the average and the learning rate."""
        if self.average is not None:
            self.average.update_parameters(self.model)
        if isinstance(self.schedule, LambdaLR):
            self.schedule.step()

    def on_validation_epoch_start(self) -> None:
        """Sum up the training epoch and start counting afresh."""
        self.validated = []
        if self.seen:
            count = sum(n for _, n, _ in self.seen)
            self.train_figures = {
                "train_loss": float(torch.stack([loss * n for loss, n, _ in self.seen]).sum()) / count,
                "train_accuracy": float(torch.stack([right for _, _, right in self.seen]).sum()) / count,
            }

    def validation_step(self, batch: Batch, _: int) -> None:
        """Answer one batch of validation faces."""
        faces, targets = batch
        self.validated.append((self.best_model(faces), targets))

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


def _moving_average(decay: float) -> Any:
    """Average with a decay that grows to its value over the first steps, so that a short run forgets its start too."""

    @torch.no_grad()
    def update(averages: Any, currents: Any, count: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for average, current in zip(averages, currents, strict=True):
            if average.is_floating_point():
                average.lerp_(current.to(average.device), weight)
            else:
                average.copy_(current)

    return update
