"""Training steps and validation of one network: losses, optimizers, schedules, averages of weights, BatchNorm statistics."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn, optim
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mien.errors import first_line, say
from mien.training.batches import Batch, DeviceFaces, TrainingBatches, class_weights, in_order, mixed, place, with_votes, worsen
from mien.training.networks import FaceNetwork, head_of, pixels
from mien.training.recipe import Augmentation, Optimizer, Recipe, Schedule
from mien.training.transfer import Teachers, Views, head_only

MOST_FACES, BATCH, SPREAD_FACES, SPREAD_BATCH = 4096, 512, 1024, 128  # on which BatchNorm statistics are measured
WARM_UP = 3  # plain steps before a capture, in which libraries allocate their buffers (PyTorch's documentation of CUDA graphs)


def classification_loss(
    logits: Tensor, targets: Tensor, smoothing: float = 0.0, weights: Tensor | None = None, focal_gamma: float = 0.0
) -> Tensor:
    """Compute cross-entropy or focal loss (Lin et al., 2017) of logits (N, K) with target distributions (N, K)."""
    log_probabilities = F.log_softmax(logits, dim=1)
    losses = -log_probabilities
    if focal_gamma:
        losses = losses * (1 - log_probabilities.exp()).clamp(min=1e-7) ** focal_gamma  # at 0 its gradient is infinite
    smoothed = targets * (1 - smoothing) + smoothing / targets.shape[1] if smoothing else targets
    if weights is None:
        return (smoothed * losses).sum() / len(targets)
    # PyTorch's mean would divide by N for soft targets; the summed weights make hard ones give its hard-label loss
    return (smoothed * losses * weights).sum() / (targets * weights).sum()


def votes_loss(logits: Tensor, votes: Tensor) -> Tensor:
    """Compute cross-entropy with the votes over the rows that have some (Barsoum et al., 2016); 0 if none has."""
    return -(votes * F.log_softmax(logits, dim=1)).sum() / votes.sum().clamp(min=1)


def distillation_loss(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Compute cross-entropy of softened logits with the teachers' probabilities (Hinton et al., 2015)."""
    return F.cross_entropy(logits / temperature, taught) * temperature**2  # the factor keeps the size of the gradients


def build_optimizer(network: nn.Module, head: nn.Module, how: Optimizer) -> optim.Optimizer:
    """Build an optimizer with the full rate for the head, and weight decay only for weights of two or more dimensions."""
    in_head = {id(parameter) for parameter in head.parameters()}
    device = next(network.parameters()).device
    groups = [
        {
            "params": [p for p in network.parameters() if (id(p) in in_head) == of_head and (p.ndim > 1) == decays],
            "weight_decay": how.weight_decay if decays else 0.0,
            # a tensor, so that a captured step reads what it is now
            "lr": torch.tensor(how.learning_rate * (1.0 if of_head else how.backbone_rate), device=device),
        }
        for of_head in (True, False)  # the head first: the rate of the first group is the one logged
        for decays in (True, False)
    ]
    fused = device.type in ("cpu", "cuda")
    if how.name == "sgd":
        return optim.SGD(groups, lr=how.learning_rate, momentum=how.momentum, nesterov=how.momentum > 0, fused=fused)
    kind = optim.AdamW if how.name == "adamw" else optim.Adam
    return kind(groups, lr=how.learning_rate, fused=fused, capturable=device.type == "cuda")


def rate_factors(how: Schedule, steps: int) -> Tensor | None:
    """Return the factor (steps,) on the learning rate in every step, or None if steps do not change it."""
    if how.name not in ("cosine", "one_cycle"):
        return None
    rising = how.warmup * steps if how.name == "one_cycle" else 0.0
    step = torch.arange(steps, dtype=torch.float64)
    falling = 0.5 * (1 + torch.cos(torch.pi * ((step - rising) / max(1.0, steps - rising)).clamp(max=1)))
    return torch.where(step + 1 < rising, (step + 1) / max(1.0, rising), falling).float()


class MovingAverage:
    """The moving average of a network's weights; its decay starts low, so that a short run forgets the initial weights too."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.network, self.decay = deepcopy(model).requires_grad_(False), decay
        pairs = list(zip(self.network.state_dict().values(), model.state_dict().values(), strict=True))
        self.averages, self.currents = ([pair[k] for pair in pairs if pair[0].is_floating_point()] for k in (0, 1))
        self.counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, done: Tensor) -> None:
        """Move the average towards the weights after so many earlier updates, a number on the device."""
        weight = 1 - (done / (done + 9)).clamp(max=self.decay).squeeze()
        changes = torch._foreach_sub(self.currents, self.averages)
        torch._foreach_mul_(changes, weight)
        torch._foreach_add_(self.averages, changes)
        for average, current in self.counts:
            average.copy_(current)


@torch.no_grad()
def interpolate(network: nn.Module, start: nn.Module, trained: nn.Module, share: float) -> None:
    """Set a network's weights to `share` of `start` and the rest of `trained` (WiSE-FT; Wortsman et al., 2022)."""
    for value, before, after in zip(*(each.state_dict().values() for each in (network, start, trained)), strict=True):
        value.copy_(torch.lerp(after, before, share) if value.is_floating_point() else after)


@torch.no_grad()
def measure_batch_norm(model: nn.Module, faces: DeviceFaces) -> None:
    """Set all BatchNorm statistics to those of at most `MOST_FACES` faces; the model is left in evaluation mode."""
    momenta = {layer: layer.momentum for layer in _batch_norms(model.eval())}  # without dropout
    for layer in momenta:
        layer.reset_running_stats()
        layer.train()
        layer.momentum = None  # the plain mean over batches
    for batch in _sample(faces, MOST_FACES, BATCH) if momenta else ():
        model(batch)
    for layer, momentum in momenta.items():
        layer.momentum = momentum
        layer.eval()


@torch.no_grad()
def spread_batch_norm(model: nn.Module, faces: DeviceFaces) -> None:
    """Set all BatchNorm statistics to those of at most `SPREAD_FACES` faces, and the weights so that outputs stay the same."""
    # a model file holds BatchNorm folded into the layer before it, without the scale of each channel, by which training divides
    device = next(model.parameters()).device
    meters = {each: type(each)(each.num_features, affine=False, momentum=None).to(device) for each in _batch_norms(model)}

    def record(layer: _BatchNorm, inputs: tuple[Tensor]) -> None:
        meters[layer](inputs[0])  # in training mode it records the mean and variance of each channel

    hooks = [layer.register_forward_pre_hook(record) for layer in meters]
    model.eval()
    for batch in _sample(faces, SPREAD_FACES, SPREAD_BATCH):
        model(batch.to(device))
    for hook in hooks:
        hook.remove()
    for layer, meter in meters.items():
        old_mean, old_variance = map(layer.get_buffer, ("running_mean", "running_var"))
        mean, variance = map(meter.get_buffer, ("running_mean", "running_var"))
        slope = layer.weight / (old_variance + layer.eps).sqrt()
        layer.bias.add_(slope * (mean - old_mean))
        layer.weight.copy_(slope * (variance + layer.eps).sqrt())
        old_mean.copy_(mean)
        old_variance.copy_(variance)


class _SharedBatchNorm(_BatchNorm):
    """Uses the statistics of whole batches, as torch.nn.SyncBatchNorm does on GPUs only."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or self.momentum is None:  # momentum is None while statistics are measured
            return super().forward(features)
        from torch.distributed.nn.functional import all_reduce  # which not every build of torch has; with a gradient

        running_mean, running_var, done = map(self.get_buffer, ("running_mean", "running_var", "num_batches_tracked"))
        shape = (1, -1, *[1] * (features.ndim - 2))
        shifted = features.float() - running_mean.view(shape)  # near 0, where variances lose no digits
        axes = [axis for axis in range(features.ndim) if axis != 1]
        processes = dist.get_world_size()
        moments = torch.stack([shifted.mean(axes), shifted.square().mean(axes)]) / processes
        mean, square = all_reduce(moments)  # type: ignore[no-untyped-call]
        variance = square - mean.square()
        count = processes * features.numel() / features.shape[1]
        with torch.no_grad():
            done += 1
            running_mean += self.momentum * mean
            running_var.lerp_(variance * count / (count - 1), self.momentum)
        slope = (self.weight / (variance + self.eps).sqrt()).view(shape)
        normalised: Tensor = (shifted - mean.view(shape)) * slope + self.bias.view(shape)
        return normalised.to(features.dtype)


def _batch_norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]


def _sample(faces: DeviceFaces, most: int, batch: int) -> Iterator[Tensor]:
    """Yield batches of a fixed random sample of the faces; rows are often sorted by label."""
    rows = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))[:most]
    for part in torch.chunk(rows, -(-len(rows) // batch)):
        yield faces.rows(part).faces


class CapturedStep:
    """A step on fixed copies of its inputs, which on a CUDA device becomes one graph: kernels need no launching one by one."""

    def __init__(self, step: Callable[[Batch], None]) -> None:
        self.step, self.done = step, 0
        self.inputs: Batch | None = None
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Batch) -> None:
        """Copy the batch into the inputs and run the step on them."""
        if self.inputs is None:
            self.inputs = Batch._make(None if each is None else each.clone() for each in batch)
        for fixed, given in zip(self.inputs, batch, strict=True):
            if fixed is not None and given is not None:
                fixed.copy_(given)
        is_cuda = self.inputs.faces.is_cuda
        if is_cuda and self.done == WARM_UP:
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph):  # records the step without running it
                    self.step(self.inputs)
                self.graph = graph
            except RuntimeError as problem:  # a network of timm that waits for the device, or too little memory
                say(f"the steps stay plain, since they cannot be captured: {first_line(problem)}")
        if self.graph is not None:
            self.graph.replay()
        elif is_cuda:
            side, current = torch.cuda.Stream(), torch.cuda.current_stream()  # type: ignore[no-untyped-call]
            side.wait_stream(current)
            with torch.cuda.stream(side):
                self.step(self.inputs)
            current.wait_stream(side)
        else:
            self.step(self.inputs)
        self.done += 1


class ClassificationTask:
    """Training of one network by one recipe, on the device of its training faces; the first head selects the best epoch."""

    def __init__(
        self, fabric: Fabric, model: FaceNetwork, train: DeviceFaces, validation: DeviceFaces, teachers: Teachers | Views | None
    ) -> None:
        self.fabric, self.recipe, self.teachers = fabric, model.recipe, teachers
        recipe = model.recipe
        self.part = fabric.global_rank, fabric.world_size
        self.train_faces, self.validation_faces = train, validation
        self.model = model.to(train.device)
        nn.utils.convert_conv2d_weight_memory_format(model, torch.channels_last)  # 40% faster on a CPU
        self.average = MovingAverage(model, recipe.ema) if recipe.ema else None
        trained = model if self.average is None else self.average.network
        # with weights_share: the initial network, and the one between it and the trained network
        self.start = deepcopy(model).requires_grad_(False) if recipe.weights_share else None
        self.trained, self.best_model = trained, trained if self.start is None else deepcopy(self.start)
        for layer in _batch_norms(model) if fabric.world_size > 1 else ():
            if type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d) and layer.affine:  # not the kinds of some of timm's networks
                layer.__class__ = _SharedBatchNorm
        self.optimizer = build_optimizer(model, head_of(model.network), recipe.optimizer)
        how, self.schedule = recipe.schedule, None
        if how.name == "plateau":
            self.schedule = ReduceLROnPlateau(self.optimizer, factor=how.factor, patience=how.patience)
        batches = TrainingBatches(train, recipe, 0, *self.part)
        self.steps, self.images = len(batches), len(batches) * batches.batch_size  # of an epoch
        factors = rate_factors(how, recipe.epochs * self.steps)
        self.factors = None if factors is None else factors.to(train.device)
        self.highest = [group["lr"].clone() for group in self.optimizer.param_groups]
        self.done = torch.zeros(1, dtype=torch.long, device=train.device)  # steps
        self.totals = torch.zeros(2, device=train.device)  # of an epoch: loss and right predictions
        counts = np.bincount(train.classes, minlength=train.targets.shape[1])
        self.label_weights = torch.from_numpy(class_weights(counts)).to(train.device)
        self.kind: tuple[int | None, bool] | None = None

    def start_epoch(self, epoch: int) -> TrainingBatches:
        """Seed dropout and augmentation, freeze or unfreeze the backbone, and return the batches; epochs count from 0."""
        faces = self.teachers.of_epoch(epoch) if isinstance(self.teachers, Views) else self.train_faces
        # so that a resumed run gives the same bits, and each process its own
        torch.manual_seed(self.recipe.seed * 100_003 + epoch + (self.fabric.global_rank << 40))
        self.epoch, kind = epoch, (crop_side(self.recipe, epoch), epoch < self.recipe.head_epochs)
        head_only(self.model.network, kind[1])
        if kind != self.kind:  # a graph is of one size, and DDP's wrapper of one set of trained weights
            self.kind, self.replica = kind, self.fabric.setup_module(self.model, move_to_device=False)
            self.replica.mark_forward_method("logits")
            captures = self.train_faces.device.type == "cuda" and self.fabric.world_size == 1
            self.step = CapturedStep(self.update) if captures else self.update
        self.done.fill_(epoch * self.steps)
        self.totals.zero_()
        return TrainingBatches(faces, self.recipe, epoch, *self.part)

    def update(self, batch: Batch) -> None:
        """Update the weights, their average and the learning rate, without waiting for the device."""
        self.optimizer.zero_grad()
        self.fabric.backward(self.loss(batch))
        if self.factors is not None:
            factor = self.factors[self.done].squeeze()
            for group, highest in zip(self.optimizer.param_groups, self.highest, strict=True):
                group["lr"].copy_(highest * factor)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.done)
        self.done += 1

    def loss(self, batch: Batch) -> Tensor:
        """Compute the loss of one batch, of all processes together."""
        recipe = self.recipe
        with torch.no_grad():
            placed, faces = self.augment(batch)
            targets, votes = with_votes(batch.targets, batch.votes, recipe.votes.mix), batch.votes
            taught = [] if batch.taught is None else [batch.taught]
            if isinstance(self.teachers, Teachers):
                with self.fabric.autocast():
                    taught = [self.teachers(placed)]
            if recipe.mixup:
                faces, targets, votes, *taught = mixed(recipe.mixup, faces, targets, votes, *taught)
        logits, targets, votes, *taught = map(self._gathered, (self.replica.logits(faces), targets, votes, *taught))
        weights = self.label_weights if recipe.balance.class_weights else None
        losses = [classification_loss(logits[:, 0], targets, recipe.label_smoothing, weights, recipe.focal_gamma)]
        if recipe.votes.head:
            losses.append(recipe.votes.head * votes_loss(logits[:, 1], votes))
        if taught:
            losses = distilled(losses, logits, taught[0], recipe)
        loss = torch.stack(losses).sum()
        right = logits[:, 0].detach().argmax(1) == targets.argmax(1)
        self.totals += torch.stack([loss.detach() * len(targets), right.sum()])
        return loss

    def _gathered(self, part: Tensor) -> Tensor:
        """Join the rows (n, ...) of all processes; gradients go back to where the rows are from."""
        gathered: Tensor = self.fabric.strategy.all_gather(part, sync_grads=True)
        return gathered if self.fabric.world_size == 1 else gathered.flatten(0, 1)

    def augment(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the faces of a batch, float32 (N, C, S, S), after the geometric changes, and after all changes."""
        given = pixels(batch.faces)
        if isinstance(self.teachers, Views):  # which are augmented already
            return given, given
        side = crop_side(self.recipe, self.epoch)
        placed = self._changed(batch, lambda how: place(given, how, side))
        return placed, self._changed(batch, lambda how: worsen(placed, how))

    def _changed(self, batch: Batch, change: Callable[[Augmentation], Tensor]) -> Tensor:
        """Apply the recipe's augmentation, and its own augmentation to copies that balance rare labels."""
        faces = change(self.recipe.augmentation)
        if batch.is_copy is None:
            return faces
        return torch.where(batch.is_copy.view(-1, 1, 1, 1), change(self.recipe.balance.copies), faces)

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """Finish an epoch: return its training and validation figures, and step a plateau schedule."""
        if self.start is not None:
            interpolate(self.best_model, self.start, self.trained, self.recipe.weights_share)
        # while only the head is trained, the backbone keeps its statistics
        if self.recipe.precise_batch_norm and self.epoch >= self.recipe.head_epochs:
            measure_batch_norm(self.best_model, self.train_faces)
        self.best_model.eval()
        faces = self.validation_faces
        with self.fabric.autocast():
            logits = torch.cat([self.best_model(batch.faces)[:, 0] for batch in in_order(faces, 512, *self.part)])
        logits = self._gathered(logits)[: len(faces)]
        loss = float(F.cross_entropy(logits, faces.targets))
        if self.schedule is not None:
            self.schedule.step(loss)
        train_loss, right = (self.totals / self.images).tolist()
        return {
            "train_loss": train_loss,
            "train_accuracy": right,
            "validation_loss": loss,
            "validation_accuracy": float((logits.argmax(1) == faces.targets.argmax(1)).float().mean()),
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
        }

    @property
    def _stateful(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"model": self.model, "average": self.average and self.average.network, "start": self.start}
        parts |= {"optimizer": self.optimizer, "schedule": self.schedule}
        return {name: part for name, part in parts.items() if part is not None}

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        return {name: part.state_dict() for name, part in self._stateful.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, part in self._stateful.items():
            part.load_state_dict(state[name])
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"].to(self.train_faces.device)


def distilled(losses: Sequence[Tensor], logits: Tensor, taught: Tensor, recipe: Recipe) -> list[Tensor]:
    """Replace a share of each head's loss on the targets by the loss on the teachers' probabilities (N, heads, K), if any."""
    how, shared = recipe.distillation, list(losses)
    for head in range(min(taught.shape[1], len(shared))):
        scale = recipe.votes.head if head else 1.0
        by_teachers = scale * distillation_loss(logits[:, head], taught[:, head], how.temperature)
        shared[head] = (1 - how.weight) * shared[head] + how.weight * by_teachers
    return shared


def crop_side(recipe: Recipe, epoch: int) -> int | None:
    """Return the side of the crop in an epoch, counted from 0 (progressive learning; Tan and Le, EfficientNetV2, 2021)."""
    if recipe.crop_from is None:
        return recipe.crop
    return round(recipe.crop_from + epoch / max(1, recipe.epochs - 1) * (recipe.seen - recipe.crop_from))
