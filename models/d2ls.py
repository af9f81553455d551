"""D2LS, Dynamic Dictionary Learning for Remote Sensing Image Segmentation (arXiv 2503.06683, ICCV 2025)."""

from types import MappingProxyType

import torch
from torch import Tensor, nn

from rspipe.models.align import Fuse
from rspipe.models.decode import DotHead, ShuffleUpsampler
from rspipe.models.dictionary import DictionaryGenerator, Modulator
from rspipe.models.errors import InputError
from rspipe.models.interact import AlternatingInteractor
from rspipe.models.outputs import SegOutput
from rspipe.models.pyramid import Pyramid
from rspipe.models.specs import D2LSSpec
from rspipe.models.validity import valid_cells

DEEPEST_STRIDE_PX = 32
FINEST_STRIDE_PX = 4


class D2LS(nn.Module):
    """The dictionary model: class atoms rewritten for every image, refined against it, and compared with its pixels.

    In training the static table takes the same way as the dynamic one, as an auxiliary branch called `static`.
    """

    def __init__(self, spec: D2LSSpec) -> None:
        super().__init__()
        self.spec = spec
        self.pyramid = Pyramid(spec.pyramid)
        self.fuse = Fuse(self.pyramid.widths, spec.width)
        self.table = nn.Parameter(torch.randn(spec.classes, spec.width))
        self.modulator = Modulator(spec, self.pyramid.widths[-1])
        self.generator = DictionaryGenerator(spec)
        self.interactor = AlternatingInteractor(spec)
        self.upsample = ShuffleUpsampler(spec.width)
        self.head = DotHead(spec.width)

    def forward(self, image: Tensor, valid: Tensor | None = None) -> SegOutput:
        """Segment a batch of images.

        Args:
            image: (B, bands, H, W) normalised numbers, 0 where invalid; H and W multiples of 32.
            valid: (B, 1, H, W) bool, the pixels that the global pools and the dictionary may read; None is the
                paper's function, and so is a mask without a hole, bit for bit.

        Raises:
            InputError: the image does not have the declared bands or a size that is a multiple of 32.
        """
        self._check(image)
        maps = self.pyramid(image)
        fine = None if valid is None else valid_cells(valid, FINEST_STRIDE_PX)
        deep = None if valid is None else valid_cells(valid, DEEPEST_STRIDE_PX)
        x = self.fuse(maps)
        dynamic = self.generator(self.table, self.modulator(maps[-1], deep))
        logits = self.decode(dynamic, x, fine)
        if not self.training:
            return SegOutput(logits)
        static = self.table.expand(image.shape[0], -1, -1)
        aux = MappingProxyType({"static": self.decode(static, x, fine)})
        return SegOutput(logits, aux=aux, tables=(dynamic,))

    def decode(self, table: Tensor, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return logits (B, N, H, W) of one table (B, N, D) against the fused map (B, D, H / 4, W / 4)."""
        atoms, x = self.interactor(table, x, valid)
        logits: Tensor = self.head(atoms, self.upsample(x))
        return logits

    def _check(self, image: Tensor) -> None:
        bands = self.spec.pyramid.in_bands
        _, found, height, width = image.shape
        if found != bands or height % DEEPEST_STRIDE_PX or width % DEEPEST_STRIDE_PX:
            raise InputError(
                f"the model takes {bands} bands and sides that are multiples of {DEEPEST_STRIDE_PX} px, "
                f"found {found} bands of {height} x {width} px"
            )
