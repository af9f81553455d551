"""The encoder: a ConvNeXt, or a ResNet, that returns one feature map per stride 4, 8, 16, 32."""

from dataclasses import dataclass
from math import asinh
from types import MappingProxyType
from typing import Any

import timm
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn

from rspipe.models.errors import InputError
from rspipe.models.specs import PyramidSpec, Size

COMPRESSION_PIVOT = 2.0
"""Normalised numbers are compressed around that many knees, so that they keep both signs: where all of them are
positive, the normalisation after the first convolution takes brightness away, and nothing is learned."""
_LARGEST = 1e9
"""No band has such numbers; their squares would overflow from 1e19 on."""
COARSEST_STRIDE_PX = 32
FINEST_STRIDE_PX = 4


@dataclass(frozen=True, slots=True)
class Stages:
    """Blocks and channels of the four ConvNeXt stages."""

    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]


SIZES: MappingProxyType[Size, Stages] = MappingProxyType(
    {
        "pico": Stages((1, 1, 2, 1), (32, 64, 128, 256)),
        "atto": Stages((2, 2, 6, 2), (40, 80, 160, 320)),
        "femto": Stages((2, 2, 6, 2), (48, 96, 192, 384)),
        "nano": Stages((2, 2, 8, 2), (80, 160, 320, 640)),
        "tiny": Stages((3, 3, 9, 3), (96, 192, 384, 768)),
        "small": Stages((3, 3, 27, 3), (96, 192, 384, 768)),
        "base": Stages((3, 3, 27, 3), (128, 256, 512, 1024)),
    }
)
"""tiny, small, base: arXiv 2201.03545. atto to nano: their usual reductions. pico: smaller than any, for tests."""


RESNETS: MappingProxyType[Size, tuple[int, int, int, int]] = MappingProxyType(
    {
        "resnet18": (64, 128, 256, 512),
        "resnet50": (256, 512, 1024, 2048),
        "resnet152": (256, 512, 1024, 2048),
    }
)
"""Channels of the four stages of those ResNets (arXiv 1512.03385) that torchgeo has weights for."""


class Pyramid(nn.Module):
    """An encoder without classifier: image (B, bands, H, W) -> maps (B, C_i, H / s_i, W / s_i), s = 4, 8, 16, 32.

    Each map is taken after its stage and before the next downsampling. H and W are multiples of 32.
    """

    def __init__(self, spec: PyramidSpec) -> None:
        super().__init__()
        self.in_bands = spec.in_bands
        self.compress = spec.compress
        self.widths = SIZES[spec.size].widths if spec.size in SIZES else RESNETS[spec.size]
        self.body: nn.Module = _body(spec)
        self.norms = nn.ModuleList(LayerNorm2d(width) for width in self.widths) if spec.level_norms else None

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the four maps, finest first.

        Raises:
            InputError: the image does not have the declared bands or a size that is a multiple of 32.
        """
        return self.levels(self.prepared(image))

    def prepared(self, image: Tensor) -> Tensor:
        """Return the image as the encoder sees it: checked, and compressed where the spec says so.

        Raises:
            InputError: the image does not have the declared bands or a size that is a multiple of 32.
        """
        _, found, height, width = image.shape
        if found != self.in_bands or height % COARSEST_STRIDE_PX or width % COARSEST_STRIDE_PX:
            raise InputError(
                f"the model takes {self.in_bands} bands and sides that are multiples of {COARSEST_STRIDE_PX} px, "
                f"found {found} bands of {height} x {width} px"
            )
        return compressed(image) if self.compress else image

    def levels(self, prepared: Tensor) -> list[Tensor]:
        """Return the four maps of what `prepared` returned."""
        maps: list[Tensor] = self.body(prepared)
        if self.norms is None:
            return maps
        return [norm(level) for norm, level in zip(self.norms, maps, strict=True)]


def compressed(scores: Tensor) -> Tensor:
    """Return asinh(z + 2) - asinh(2) of normalised numbers z: 0, which stands for what is missing, stays 0.

    asinh(x) = sign(x) log1p(|x| + x^2 / (1 + sqrt(1 + x^2))): torch's own takes one number at a time on a CPU, an
    eighth of the time of a small model.
    """
    shifted = scores + COMPRESSION_PIVOT
    size = shifted.abs().clamp_(max=_LARGEST)
    squared = size.square()
    rest = squared / (squared + 1).sqrt_().add_(1)
    return rest.add_(size).log1p_().copysign_(shifted).sub_(asinh(COMPRESSION_PIVOT))


def _body(spec: PyramidSpec) -> nn.Module:
    options: dict[str, Any] = {"pretrained": False, "features_only": True, "in_chans": spec.in_bands}
    options["drop_path_rate"] = spec.drop_path
    if spec.size in RESNETS:
        return timm.create_model(spec.size, out_indices=(1, 2, 3, 4), **options)
    stages = SIZES[spec.size]
    return timm.create_model("convnext_tiny", depths=stages.depths, dims=stages.widths, **options)
