"""BiCoR-Seg, Bidirectional Co-Refinement of class vectors and map (arXiv 2512.20255, CVM 2026), as its code has it."""

from types import MappingProxyType

import torch
from torch import Tensor, nn

from rspipe.models.align import Fuse
from rspipe.models.decode import DotHead, ShuffleUpsampler, cell_means
from rspipe.models.exchange import interactor_of
from rspipe.models.outputs import SegOutput
from rspipe.models.pyramid import FINEST_STRIDE_PX, Pyramid
from rspipe.models.segmenter import Segmenter
from rspipe.models.specs import BiCoRSpec
from rspipe.models.validity import valid_cells


class BiCoR(Segmenter):
    """Class vectors and image exchange information through heatmaps, which are supervised and can be looked at.

    In training the class table, without a gradient, is also compared with the map as it was before any exchange, as an
    auxiliary branch called `static`.
    """

    spec: BiCoRSpec
    train_only = ("static_head",)

    def __init__(self, spec: BiCoRSpec) -> None:
        super().__init__()
        self.spec = spec
        self.pyramid = Pyramid(spec.pyramid)
        self.fuse = Fuse(self.pyramid.widths, spec.width)
        self.table = nn.Parameter(nn.init.trunc_normal_(torch.empty(spec.classes, spec.width), std=0.02))
        self.interactor = interactor_of(spec.exchange, spec.width, spec.stages)
        self.upsample = ShuffleUpsampler(spec.width)
        self.head = DotHead.linear(spec.width, smooth=spec.smooth)
        self.static_head = DotHead.linear(spec.width, smooth=spec.smooth)

    def forward(self, image: Tensor, valid: Tensor | None = None, *, explain: bool = False) -> SegOutput:
        """See `Segmenter`; class vectors gather from valid pixels only."""
        x = self.fuse(self.pyramid(image))
        table = self.table.expand(image.shape[0], -1, -1)
        fine = None if valid is None else valid_cells(valid, FINEST_STRIDE_PX)
        stages = self.interactor(table, x, fine)
        seen, heatmaps = self.upsample(stages[-1].x), tuple(stage.heat for stage in stages if self.training or explain)
        logits = self.head(stages[-1].atoms, seen)
        if not self.training:
            profile = torch.cat([heatmaps[-1], cell_means(seen)], dim=1) if explain else None
            return SegOutput(logits, heatmaps=heatmaps, profile=profile)
        aux = MappingProxyType({"static": self.static_head(table.detach(), self.upsample(x))})
        return SegOutput(logits, aux=aux, heatmaps=heatmaps, tables=tuple(stage.atoms for stage in stages))
