"""What every model is to those who train it, run it or keep its card."""

from abc import abstractmethod

from torch import Tensor, nn

from rspipe.models.outputs import SegOutput
from rspipe.models.pyramid import Pyramid
from rspipe.models.specs import BiCoRSpec, D2LSSpec, KTDASpec


class Segmenter(nn.Module):
    """A model as `build.build` makes it."""

    spec: D2LSSpec | BiCoRSpec | KTDASpec
    pyramid: Pyramid
    train_only: tuple[str, ...] = ()
    """Parts that act in training only: they are neither in weights files nor in a card's count of parameters."""

    @abstractmethod
    def forward(self, image: Tensor, valid: Tensor | None = None, *, explain: bool = False) -> SegOutput:
        """Segment a batch of images.

        Args:
            image: (B, bands, H, W) normalised numbers, 0 where invalid; H and W multiples of 32.
            valid: (B, 1, H, W) bool, the pixels that may be pooled and attended to; None is the paper's function, and
                so is a mask without a hole, bit for bit.
            explain: in evaluation, also return what shows how the answer came about (heatmaps, profile).

        Raises:
            InputError: the image does not have the declared bands or a size that is a multiple of 32.
        """
