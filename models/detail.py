"""A short way for pixels: past the encoder, from the bands of a pixel to the channels it is compared in."""

from torch import Tensor, nn

from rspipe.models.pyramid import FINEST_STRIDE_PX


class Detail(nn.Module):
    """One linear map of the bands in a cell of 4 x 4 px, added to what two pixel shuffles deal out to these pixels.

    All else that is known of a pixel went through the encoder, which sees cells. It begins at zero, as if it were not
    there, and has no bias: a band that is missing, 0, adds nothing.
    """

    def __init__(self, in_bands: int, width: int) -> None:
        super().__init__()
        self.map = nn.Conv2d(in_bands, width, FINEST_STRIDE_PX, stride=FINEST_STRIDE_PX, bias=False)
        nn.init.zeros_(self.map.weight)

    def forward(self, seen: Tensor) -> Tensor:
        """Return (B, width, H / 4, W / 4) from the bands (B, bands, H, W) as the encoder sees them."""
        cells: Tensor = self.map(seen)
        return cells
