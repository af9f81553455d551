"""The training loop: one model, one feed of batches, one log."""

import math
from collections.abc import Iterator

import torch
from pydantic import Field
from torch import nn

from rspipe.models.criterion import Criterion, CriterionSpec
from rspipe.models.errors import DataError
from rspipe.models.feed import Batch, Feed
from rspipe.models.lookahead import Lookahead
from rspipe.models.specs import StrictModel


class OptimiserSpec(StrictModel):
    """AdamW under Lookahead with a cosine to the floor, and an average of the weights for use."""

    steps: int = Field(ge=1)
    lr: float = Field(default=1e-3, gt=0)
    lr_floor: float = Field(default=1e-6, ge=0)
    warmup_steps: int = Field(default=50, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=5.0, gt=0)
    """Gradients longer than this are shortened to it."""
    average: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the exponential moving average of the weights; 0 takes the last ones."""


class Trainer:
    """Everything that changes during a training. The same seed gives the same bits on one machine and thread count."""

    def __init__(self, model: nn.Module, feed: Feed, optimiser: OptimiserSpec, criterion: CriterionSpec) -> None:
        self.model = model
        self.average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self.feed = feed
        self.spec = optimiser
        self.criterion = Criterion(criterion)
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=optimiser.lr, weight_decay=optimiser.weight_decay)
        self.lookahead = Lookahead(list(model.parameters()))
        self.step = 0

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def to(self, device: torch.device) -> None:
        """Move everything to a device; before the first step only, the optimiser has no state yet."""
        self.model.to(device)
        self.average = {name: tensor.to(device) for name, tensor in self.average.items()}
        self.lookahead.slow = [tensor.to(device) for tensor in self.lookahead.slow]

    def learning_rate(self) -> float:
        """Return the rate of the coming step: a linear rise, then a cosine to the floor."""
        spec = self.spec
        if self.step < spec.warmup_steps:
            return spec.lr * (self.step + 1) / spec.warmup_steps
        done = (self.step - spec.warmup_steps) / max(1, spec.steps - spec.warmup_steps)
        return spec.lr_floor + (spec.lr - spec.lr_floor) * 0.5 * (1 + math.cos(math.pi * done))

    def run(self, until: int | None = None) -> Iterator[dict[str, float]]:
        """Go on to a step, or to the last one; yield each step's loss, the terms of it, and the rate."""
        for batch in self.feed.batches(self.step, self.spec.steps if until is None else until):
            yield self._advance(batch.to(self.device))

    def _advance(self, batch: Batch) -> dict[str, float]:
        rate = self.learning_rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        # Stochastic depth draws from torch's own state: tying it to the step lets a resumed training repeat it.
        torch.manual_seed(self.feed.seed * 1_000_003 + self.step)
        loss = self.criterion(self.model(batch.image, batch.valid), batch.labels)
        if not bool(torch.isfinite(loss.total)):
            raise DataError(f"step {self.step}: the loss is {loss.total.item()}; lower the learning rate")
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss.total)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.spec.clip_norm)
        self.optimiser.step()
        self.lookahead.step()
        self._average()
        self.step += 1
        terms = {name: term.item() for name, term in loss.terms.items()}
        return {"step": self.step, "lr": rate, "loss": loss.total.item(), **terms}

    @torch.no_grad()
    def _average(self) -> None:
        # Young averages forget faster, so that the initial weights do not linger.
        decay = min(self.spec.average, (1 + self.step) / (10 + self.step)) if self.spec.average else 0.0
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - decay)
            else:
                self.average[name].copy_(tensor)
