"""Lookahead (arXiv 1907.08610): slow weights that follow the fast ones every few steps."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Lookahead:
    """A slow copy of the parameters: after every k steps it goes a part alpha towards them, and they go on from there.

    The slow weights begin as a copy of the parameters. Defaults are those of the D2LS recipe.
    """

    def __init__(self, parameters: Sequence[Tensor], steps: int = 5, alpha: float = 0.5) -> None:
        self.parameters = list(parameters)
        self.slow = [parameter.detach().clone() for parameter in self.parameters]
        self.steps = steps
        self.alpha = alpha
        self.taken = 0

    @torch.no_grad()
    def step(self) -> None:
        """Count one optimiser step; at every k-th one pull the parameters back to the moved slow weights."""
        self.taken += 1
        if self.taken % self.steps:
            return
        for slow, fast in zip(self.slow, self.parameters, strict=True):
            slow.lerp_(fast, self.alpha)
            fast.copy_(slow)
