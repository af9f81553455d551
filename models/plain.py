"""The baseline without any class vector: the encoder of the dictionary models under a plain linear head."""

from torch import Tensor

from rspipe.models.align import Deepest, Fuse
from rspipe.models.decode import PlainHead, ShuffleUpsampler, cell_means
from rspipe.models.detail import Detail
from rspipe.models.outputs import SegOutput
from rspipe.models.pyramid import Pyramid
from rspipe.models.segmenter import Segmenter
from rspipe.models.specs import D2LSSpec


class Plain(Segmenter):
    """D2LS with `dictionary: none`: the fused map, upsampled by pixel shuffles, and one 1 x 1 convolution."""

    spec: D2LSSpec

    def __init__(self, spec: D2LSSpec) -> None:
        super().__init__()
        self.spec = spec
        self.pyramid = Pyramid(spec.pyramid)
        widths = self.pyramid.widths
        self.fuse = Fuse(widths, spec.width) if spec.aggregate else Deepest(widths[-1], spec.width)
        self.upsample = ShuffleUpsampler(spec.width)
        self.head = PlainHead(spec.width, spec.classes, smooth=spec.smooth)
        self.detail = Detail(spec.detail, spec.width) if spec.detail else None

    def forward(self, image: Tensor, valid: Tensor | None = None, *, explain: bool = False) -> SegOutput:  # noqa: ARG002 - nothing is pooled
        """See `Segmenter`."""
        prepared = self.pyramid.prepared(image)
        x = self.fuse(self.pyramid.levels(prepared))
        seen = self.upsample(x if self.detail is None else x + self.detail(prepared))
        return SegOutput(self.head(seen), profile=cell_means(seen) if explain and not self.training else None)
