"""KTDA, Knowledge Transfer and Domain Adaptation for Fine-Grained Remote Sensing Segmentation (arXiv 2412.06664)."""

from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from rspipe.models.align import AlignLevels, resized
from rspipe.models.neck import SCALES, MultiLevelNeck
from rspipe.models.outputs import SegOutput
from rspipe.models.pyramid import FINEST_STRIDE_PX, Pyramid
from rspipe.models.segmenter import Segmenter
from rspipe.models.specs import KTDASpec
from rspipe.models.uper import FCNHead, UPerHead
from rspipe.models.validity import valid_grid
from rspipe.models.vit import FeatureModulation

CELL_PX = 14
"""The patch of the paper's teacher: the student's maps are aligned to a grid of such cells."""
AUX_LEVEL = 2
"""The level on the common grid itself."""


class KTDA(Segmenter):
    """A ConvNeXt whose maps imitate a frozen ViT's, and are then adapted to the domain by blocks of self-attention.

    The teacher is no part of the model: training compares `SegOutput.aligned` with its maps. The auxiliary head,
    called `fcn`, acts in training only.
    """

    spec: KTDASpec
    train_only = ("aux",)

    def __init__(self, spec: KTDASpec) -> None:
        super().__init__()
        self.spec = spec
        self.pyramid = Pyramid(spec.pyramid)
        self.levels = AlignLevels(self.pyramid.widths, spec.width)
        self.neck = MultiLevelNeck(spec.width)
        blocks = [0 if spec.coarse_only and scale > 2 else spec.blocks for scale in SCALES]
        self.modulations = nn.ModuleList(FeatureModulation(spec.width, spec.heads, depth) for depth in blocks)
        self.head = UPerHead(spec.width, spec.head_width, spec.classes)
        self.aux = FCNHead(spec.width, spec.aux_width, spec.classes)

    def forward(self, image: Tensor, valid: Tensor | None = None, *, explain: bool = False) -> SegOutput:
        """See `Segmenter`; attention, pyramid pooling and, in training, batch statistics read valid cells only.

        With batch statistics, a mask without a hole is the paper's function up to rounding.
        """
        aligned = self.align(image, self.pyramid(image))
        maps = self.neck(aligned)
        cells = [None if valid is None else valid_grid(valid, x.shape[-2:]) for x in maps]
        maps = [modulate(x, some) for modulate, x, some in zip(self.modulations, maps, cells, strict=True)]
        size = image.shape[-2:]
        logits = resized(self.head(maps, cells), size)
        if not self.training:
            profile = functional.avg_pool2d(logits.float(), FINEST_STRIDE_PX) if explain else None
            return SegOutput(logits, profile=profile)
        aux = resized(self.aux(maps[AUX_LEVEL], cells[AUX_LEVEL]), size)
        return SegOutput(logits, aux=MappingProxyType({"fcn": aux}), aligned=aligned)

    def align(self, image: Tensor, maps: list[Tensor]) -> tuple[Tensor, ...]:
        """Return the image's pyramid as four maps (B, D, ceil(H / 14), ceil(W / 14))."""
        grid = torch.Size(-(-side // CELL_PX) for side in image.shape[-2:])
        aligned: tuple[Tensor, ...] = self.levels(maps, grid)
        return aligned
