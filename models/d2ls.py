"""D2LS, Dynamic Dictionary Learning for Remote Sensing Image Segmentation (arXiv 2503.06683, ICCV 2025)."""

from types import MappingProxyType

import torch
from torch import Tensor, nn

from rspipe.models.align import Deepest, Fuse
from rspipe.models.decode import DotHead, ShuffleUpsampler, cell_means
from rspipe.models.detail import Detail
from rspipe.models.dictionary import DictionaryGenerator, Modulator
from rspipe.models.exchange import interactor_of
from rspipe.models.outputs import SegOutput
from rspipe.models.pyramid import COARSEST_STRIDE_PX, FINEST_STRIDE_PX, Pyramid
from rspipe.models.segmenter import Segmenter
from rspipe.models.specs import D2LSSpec
from rspipe.models.stage import Stage
from rspipe.models.validity import valid_cells


class D2LS(Segmenter):
    """The dictionary model: class atoms rewritten for every image, refined against it, and compared with its pixels.

    In training the static table takes the same way as the dynamic one, as an auxiliary branch called `static`.
    """

    spec: D2LSSpec

    def __init__(self, spec: D2LSSpec) -> None:
        super().__init__()
        self.spec = spec
        self.pyramid = Pyramid(spec.pyramid)
        widths, dynamic = self.pyramid.widths, spec.dictionary == "dynamic"
        self.fuse = Fuse(widths, spec.width) if spec.aggregate else Deepest(widths[-1], spec.width)
        self.table = nn.Parameter(torch.randn(spec.classes, spec.width))
        self.modulator = Modulator(spec, widths[-1]) if dynamic else None
        self.generator = DictionaryGenerator(spec) if dynamic else None
        self.interactor = interactor_of(spec.exchange, spec.width, spec.stages) if spec.exchange else None
        self.upsample = ShuffleUpsampler(spec.width)
        self.head = DotHead.deep(spec.width, smooth=spec.smooth)
        self.detail = Detail(spec.detail, spec.width) if spec.detail else None

    def forward(self, image: Tensor, valid: Tensor | None = None, *, explain: bool = False) -> SegOutput:
        """See `Segmenter`; the global pools and the dictionary read valid pixels only."""
        seen = self.pyramid.prepared(image)
        maps = self.pyramid.levels(seen)
        detail = self.detail(seen) if self.detail is not None else None
        fine = None if valid is None else valid_cells(valid, FINEST_STRIDE_PX)
        deep = None if valid is None else valid_cells(valid, COARSEST_STRIDE_PX)
        x = self.fuse(maps)
        static = self.table.expand(image.shape[0], -1, -1)
        if self.modulator is None or self.generator is None:
            return self._output(self.stages(static, x, fine), detail, explain=explain)
        dynamic = self.generator(self.table, self.modulator(maps[-1], deep))
        output = self._output(self.stages(dynamic, x, fine), detail, explain=explain)
        if not self.training:
            return output
        aux = MappingProxyType({"static": self.decode(self.stages(static, x, fine)[-1], detail)})
        return SegOutput(output.logits, aux=aux, heatmaps=output.heatmaps, tables=(dynamic,))

    def stages(self, table: Tensor, x: Tensor, valid: Tensor | None) -> list[Stage]:
        """Refine a table (B, N, D) and the fused map (B, D, H / 4, W / 4) against one another."""
        if self.interactor is None:
            return [Stage(table, x)]
        stages: list[Stage] = self.interactor(table, x, valid)
        return stages

    def decode(self, stage: Stage, detail: Tensor | None = None) -> Tensor:
        """Return logits (B, N, H, W); `detail` is what `Detail` makes of the bands, None where there is none."""
        logits: Tensor = self.head(stage.atoms, self._pixels(stage, detail))
        return logits

    def _pixels(self, stage: Stage, detail: Tensor | None) -> Tensor:
        seen: Tensor = self.upsample(stage.x if detail is None else stage.x + detail)
        return seen

    def _output(self, stages: list[Stage], detail: Tensor | None, *, explain: bool) -> SegOutput:
        *_, last = stages
        if self.training:
            drawn = tuple(stage.drawn for stage in stages if stage.drawn is not None)
            return SegOutput(self.decode(last, detail), heatmaps=drawn)
        if not explain:
            return SegOutput(self.decode(last, detail))
        seen, heatmaps = self._pixels(last, detail), tuple(stage.heat for stage in stages)
        profile = torch.cat([heatmaps[-1], cell_means(seen)], dim=1)
        return SegOutput(self.head(last.atoms, seen), heatmaps=heatmaps, profile=profile)
