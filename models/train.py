"""The training loop: one model, one feed of batches, one log."""

import math
from collections.abc import Iterator
from types import MappingProxyType
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from rspipe.models.criterion import Criterion, Loss
from rspipe.models.distill import Taught
from rspipe.models.errors import DataError
from rspipe.models.feed import Batch, Feed
from rspipe.models.lookahead import Lookahead
from rspipe.models.specs import StrictModel
from rspipe.models.teacher import Teacher

Precision = Literal["float32", "bfloat16", "float16"]
HALVES: MappingProxyType[Precision, torch.dtype] = MappingProxyType(
    {"bfloat16": torch.bfloat16, "float16": torch.float16}
)


class Restart(StrictModel):
    """The rate rises and falls a second time."""

    step: int = Field(ge=1)
    """The first step of the second time."""
    lr: float = Field(gt=0)
    keep: float = Field(default=0.0, ge=0, lt=1)
    """Share of the weights before that step in those that are used: between weights that know much in general and what
    few examples made of them lie some that generalise better (Wortsman et al. 2022, Robust fine-tuning of zero-shot
    models)."""


class OptimiserSpec(StrictModel):
    """AdamW under Lookahead with a cosine to the floor, and an average of the weights for use."""

    steps: int = Field(ge=1)
    lr: float = Field(default=1e-3, gt=0)
    lr_floor: float = Field(default=1e-6, ge=0)
    warmup_steps: int = Field(default=50, ge=0)
    restart: Restart | None = None
    """Where what is learned from changes, for instance from simulated patches to real ones."""
    epoch_steps: int = Field(default=1, ge=1)
    """For how many steps a rate of the cosine holds; the papers change it once per epoch."""
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=5.0, gt=0)
    """Gradients longer than this are shortened to it."""
    average: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the exponential moving average of the weights; 0 takes the last ones."""
    precision: Precision = "float32"
    """Of the matrix products in the model; weights, their updates and the loss are float32."""

    @model_validator(mode="after")
    def _restarts_in_time(self) -> Self:
        if self.restart is not None and self.restart.step >= self.steps:
            raise ValueError(f"restart.step: found {self.restart.step}, it must be below steps: {self.steps}")
        return self


class Trainer:
    """Everything that changes during a training. The same seed gives the same bits on one machine and thread count.

    Args:
        model: on the device that it will be trained on.
        feed: makes the batches, of this process's part if there are several.
        optimiser: how its weights change.
        criterion: what is made small.
        teacher: on the same device; what the model's aligned maps are compared with. It is neither trained nor kept.
    """

    def __init__(
        self,
        model: nn.Module,
        feed: Feed,
        optimiser: OptimiserSpec,
        criterion: Criterion,
        teacher: Teacher | None = None,
    ) -> None:
        self.model = model
        self.parameters = list(model.parameters())
        self.feed = feed
        self.spec = optimiser
        self.criterion = criterion
        self.teacher = teacher
        self.ranks = feed.ranks
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=optimiser.lr, weight_decay=optimiser.weight_decay, fused=True
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=optimiser.precision == "float16")
        self.step = 0
        self.before: dict[str, Tensor] = {}
        """The weights that would have been used before the restart, from then on."""
        self.start_here()

    def start_here(self) -> None:
        """Take the weights that the model has now as those that it starts from; before the first step only."""
        self.lookahead = Lookahead(self.parameters)
        now = self.model.state_dict() if self.spec.average else {}
        self.average = {name: tensor.detach().clone() for name, tensor in now.items()}

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.parameters[0].device

    def learning_rate(self) -> float:
        """Return the rate of the coming step: a linear rise, then a cosine to the floor; after a restart once more."""
        spec, restart = self.spec, self.spec.restart
        begin, end, lr = 0, spec.steps if restart is None else restart.step, spec.lr
        if restart is not None and self.step >= restart.step:
            begin, end, lr = restart.step, spec.steps, restart.lr
        since = self.step - begin - spec.warmup_steps
        if since < 0:
            return lr * (self.step - begin + 1) / spec.warmup_steps
        done = (since - since % spec.epoch_steps) / max(1, end - begin - spec.warmup_steps)
        return spec.lr_floor + (lr - spec.lr_floor) * 0.5 * (1 + math.cos(math.pi * done))

    def run(self, until: int | None = None) -> Iterator[dict[str, float]]:
        """Go on to a step, or to the last one; yield each step's loss, the terms of it, and the rate."""
        for batch in self.feed.batches(self.step, self.spec.steps if until is None else until):
            yield self._advance(batch.to(self.device))

    def settle(self) -> None:
        """Give the model the weights that are used; nothing is left to be trained after that."""
        used, restart = self._used(), self.spec.restart
        if restart is not None:
            for name, before in self.before.items():
                used[name] = torch.lerp(used[name], before, restart.keep)
        self.model.load_state_dict(used)

    def _used(self) -> dict[str, Tensor]:
        """Return the averaged weights, or the last ones where there is no average."""
        return dict(self.average or self.model.state_dict())

    def loss(self, batch: Batch) -> Loss:
        """Return what the whole batch costs of which this process has a part."""
        half = HALVES.get(self.spec.precision)
        with torch.autocast(self.device.type, dtype=half, enabled=half is not None):
            output = self.model(batch.image, batch.valid)
            taught = self._taught(batch)
        labels = self.ranks.gathered(batch.labels)
        return self.criterion(self.ranks.output(output), labels, taught)

    def _taught(self, batch: Batch) -> Taught | None:
        if self.teacher is None:
            return None
        maps = self.teacher(batch.image, batch.valid)
        valid = self.ranks.gathered(batch.valid.byte()).bool()
        return Taught(tuple(self.ranks.gathered(level) for level in maps), valid)

    def _advance(self, batch: Batch) -> dict[str, float]:
        restart = self.spec.restart
        if restart is not None and restart.keep and self.step == restart.step:
            used = self._used().items()
            self.before = {name: tensor.detach().clone() for name, tensor in used if tensor.is_floating_point()}
        rate = self.learning_rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        # Stochastic depth draws from torch's own state: tying it to the step lets a resumed training repeat it.
        torch.manual_seed((self.feed.seed * 1_000_003 + self.step) * 1_009 + self.ranks.rank)
        loss = self.loss(batch)
        if not bool(torch.isfinite(loss.total)):
            raise DataError(f"step {self.step}: the loss is {loss.total.item()}; lower the learning rate")
        self._descend(loss.total)
        self._average()
        self.step += 1
        terms = {name: term.item() for name, term in loss.terms.items()}
        return {"step": self.step, "lr": rate, "loss": loss.total.item(), **terms}

    def _descend(self, total: Tensor) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(total))
        self.ranks.sum_gradients(self.parameters)
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.parameters, self.spec.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.lookahead.step()

    @torch.no_grad()
    def _average(self) -> None:
        # Young averages forget faster, so that the initial weights do not linger.
        decay = min(self.spec.average, (1 + self.step) / (10 + self.step))
        now = self.model.state_dict() if self.average else {}
        for name, tensor in now.items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - decay)
            else:
                self.average[name].copy_(tensor)
