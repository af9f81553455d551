"""A short way for pixels: past the encoder, from the bands of a pixel to the channels it is compared in."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rspipe.models.pyramid import FINEST_STRIDE_PX


class Detail(nn.Module):
    """One linear map of some bands in a cell of 4 x 4 px, added to what two pixel shuffles deal out to these pixels.

    All else that is known of a pixel went through the encoder, which sees cells. It begins at zero, as if it were not
    there, and has no bias: a band that is missing, 0, adds nothing.
    """

    channels: Tensor

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.register_buffer("channels", torch.tensor(channels), persistent=False)
        self.map = nn.Conv2d(len(channels), width, FINEST_STRIDE_PX, stride=FINEST_STRIDE_PX, bias=False)
        nn.init.zeros_(self.map.weight)

    def forward(self, seen: Tensor) -> Tensor:
        """Return (B, width, H / 4, W / 4) from all bands (B, bands, H, W) as the encoder sees them."""
        cells: Tensor = self.map(seen.index_select(1, self.channels))
        return cells
