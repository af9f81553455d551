"""Several processes that learn as one: each makes its part of every batch, all see the loss of the whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, distributed, nn

from rspipe.models.errors import DataError
from rspipe.models.outputs import SegOutput


class _Gathered(torch.autograd.Function):
    """Concatenates what all processes hold along the first axis; each gets the gradient of its own part back."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:  # noqa: ANN401 - torch does not type its context
        parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, own.contiguous())
        ctx.own = len(own)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        return gradients[0].narrow(0, distributed.get_rank() * ctx.own, ctx.own)


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many processes this is. A single one gathers and sums nothing."""

    rank: int = 0
    count: int = 1

    def slots(self, batch: int) -> range:
        """Return the slots of a batch that this process fills.

        Raises:
            DataError: a batch cannot be dealt out evenly.
        """
        if batch % self.count:
            raise DataError(f"feed.batch {batch} cannot be dealt to {self.count} processes; choose a multiple")
        share = batch // self.count
        return range(self.rank * share, (self.rank + 1) * share)

    def gathered(self, part: Tensor) -> Tensor:
        """Return the whole batch of what this process has a part of; the gradient comes back to the part."""
        if self.count == 1:
            return part
        whole: Tensor = _Gathered.apply(part)
        return whole

    def output(self, part: SegOutput) -> SegOutput:
        """Return what the model would have returned for the whole batch.

        Cross-entropy and Dice are ratios of sums over a batch, and scatter compares its images: only from the whole of
        it do they come out as in one process.
        """
        if self.count == 1:
            return part
        return SegOutput(
            self.gathered(part.logits),
            aux=MappingProxyType({name: self.gathered(logits) for name, logits in part.aux.items()}),
            heatmaps=tuple(self.gathered(heat) for heat in part.heatmaps),
            tables=tuple(self.gathered(table) for table in part.tables),
            aligned=tuple(self.gathered(level) for level in part.aligned),
        )

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add up the gradients of all processes: that of the whole batch, since each has the gradient of its part."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        whole = nn.utils.parameters_to_vector(gradients)
        distributed.all_reduce(whole)
        nn.utils.vector_to_parameters(whole, gradients)


ALONE = Ranks()
"""The only process."""
