"""A short way for pixels: past the encoder, from the bands of a pixel to the channels it is compared in."""

from torch import Tensor, nn
from torch.nn import functional


class Detail(nn.Module):
    """One linear map for all pixels: bands -> width / 16 channels, laid out so that two pixel shuffles undo it.

    All else that is known of a pixel comes out of cells of 4 x 4 px, in which every place has channels of its own; this
    map is the same at every place. It begins at zero, as if it were not there, and has no bias: a band that is missing,
    0, adds nothing.
    """

    def __init__(self, in_bands: int, width: int) -> None:
        super().__init__()
        self.map = nn.Conv2d(in_bands, width // 16, 1, bias=False)
        nn.init.zeros_(self.map.weight)

    def forward(self, seen: Tensor) -> Tensor:
        """Return (B, width, H / 4, W / 4), to be added to the map of cells, from the bands (B, bands, H, W)."""
        return functional.pixel_unshuffle(functional.pixel_unshuffle(self.map(seen), 2), 2)
