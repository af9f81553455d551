"""Frozen networks whose feature maps a student imitates. A teacher is no part of the student, nor of its weights."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import timm
import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from rspipe.models.align import Fuse
from rspipe.models.build import build
from rspipe.models.card import CardBand, ModelCard
from rspipe.models.errors import SpecError, WeightsError
from rspipe.models.ktda import KTDA
from rspipe.models.pretrained import TimmWeights
from rspipe.models.registry import resolve
from rspipe.models.segmenter import Segmenter
from rspipe.models.specs import StrictModel
from rspipe.models.validity import valid_cells
from rspipe.models.weights import load_weights

TAPS = 4


class TeacherBand(StrictModel):
    """One channel of a teacher: a band, and what the teacher takes as its mean and deviation in physical units.

    A teacher of photographs: red, green, blue with ImageNet's (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225), each
    times the reflectance that a photograph shows as white.
    """

    name: str
    mean: float
    stddev: float = Field(gt=0)


class ViTTeacherSpec(StrictModel):
    """A pretrained vision transformer of timm, for instance `vit_base_patch14_dinov2`."""

    kind: Literal["vit"] = "vit"
    name: str
    path: Path | None = None
    """A `.safetensors` file; None asks the Hugging Face hub, or what it left on disk earlier."""
    bands: Annotated[tuple[TeacherBand, ...], Field(min_length=1)]

    def under(self, root: Path) -> Self:
        """Return the teacher with its path below a folder."""
        return self.model_copy(update={"path": self.path and root / self.path})

    def file(self) -> Path:
        """Return the file whose bytes decide what the teacher says.

        Raises:
            SpecError: timm has no such weights.
            WeightsError: they are not on this machine and the hub cannot be asked.
        """
        return TimmWeights(source="timm", name=self.name, path=self.path).encoder().path


class CardTeacherSpec(StrictModel):
    """A model of ours, by the name of a shipped one or the path of a card."""

    kind: Literal["card"] = "card"
    card: str

    def under(self, root: Path) -> Self:
        """Return the teacher with its card, if it is a path, below a folder."""
        return self.model_copy(update={"card": str(root / self.card)}) if self.card.endswith(".json") else self

    def file(self) -> Path:
        """Return the card, which holds the digest of its weights.

        Raises:
            CardError: there is no such model or file.
        """
        return resolve(self.card)


TeacherSpec = Annotated[ViTTeacherSpec | CardTeacherSpec, Field(discriminator="kind")]


class BandView(nn.Module):
    """From what a student sees to what its teacher sees: other channels, other means and deviations."""

    channels: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, student: Sequence[CardBand], teacher: Sequence[TeacherBand]) -> None:
        super().__init__()
        names = [band.name for band in student]
        missing = [band.name for band in teacher if band.name not in names]
        if missing:
            raise SpecError(f"the teacher looks at {', '.join(missing)}, the model has only {', '.join(names)}")
        pairs = [(student[names.index(band.name)], band) for band in teacher]
        scale = torch.tensor([own.stddev / other.stddev for own, other in pairs])
        shift = torch.tensor([(own.mean - other.mean) / other.stddev for own, other in pairs])
        self.register_buffer("channels", torch.tensor([names.index(band.name) for band in teacher]))
        self.register_buffer("scale", scale.view(-1, 1, 1))
        self.register_buffer("shift", shift.view(-1, 1, 1))

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return (B, teacher bands, H, W), 0 where invalid, from (B, student bands, H, W) and (B, 1, H, W) bool."""
        seen = image.index_select(1, self.channels) * self.scale + self.shift
        return torch.where(valid, seen, 0.0)


class Teacher(nn.Module, ABC):
    """The interface: a frozen network, called with the student's own input."""

    def __init__(self, network: nn.Module, view: BandView) -> None:
        super().__init__()
        self.network = network
        self.view = view
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - the signature is torch's
        """Stay in evaluation mode, whatever is asked for."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def forward(self, image: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        """Return one map (B, D, g_h, g_w) per level of the student, finest first, without a gradient.

        Args:
            image: (B, bands, H, W) as the student takes it.
            valid: (B, 1, H, W) bool, the pixels that may be read.
        """
        return self.maps(self.view(image, valid), valid)

    @abstractmethod
    def maps(self, image: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of an image in the teacher's own bands and normalisation."""


class ViTTeacher(Teacher):
    """Patch tokens after each quarter of a ViT's blocks (3, 6, 9 and 12 of 12), the last ones under the final norm.

    Images are padded with zeros to the right and downwards to a multiple of the patch; the table of positions is
    resized bicubically to that grid. Patches without a valid pixel are not attended.
    """

    network: VisionTransformer

    def __init__(self, network: VisionTransformer, view: BandView) -> None:
        super().__init__(network, view)

    def maps(self, image: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        """Return four maps (B, D, ceil(H / patch), ceil(W / patch))."""
        vit = self.network
        patch, (height, width) = vit.patch_embed.patch_size[0], image.shape[-2:]
        beyond = (0, -width % patch, 0, -height % patch)
        image, valid = functional.pad(image, beyond), functional.pad(valid, beyond)
        cells = valid_cells(valid, patch)
        readable = functional.pad(cells.flatten(2), (vit.num_prefix_tokens, 0), value=True).unsqueeze(1)
        taps = [len(vit.blocks) * quarter // TAPS - 1 for quarter in range(1, TAPS + 1)]
        *tokens, last = vit.forward_intermediates(
            image, indices=taps, output_fmt="NLC", intermediates_only=True, attn_mask=readable
        )
        return tuple(x.transpose(1, 2).unflatten(2, cells.shape[-2:]) for x in (*tokens, vit.norm(last)))


class CardTeacher(Teacher):
    """A trained model of ours: its pyramid after the projections that bring all levels to one width."""

    network: Segmenter

    def __init__(self, network: Segmenter, view: BandView) -> None:
        super().__init__(network, view)
        if not isinstance(network, KTDA) and not isinstance(network.get_submodule("fuse"), Fuse):
            raise SpecError("a model that reads only its deepest map cannot teach: it aligns no levels")

    def maps(self, image: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        """Return four maps (B, D, h_i, w_i); nothing is pooled or attended on the way, so `valid` is not asked."""
        del valid
        levels: list[Tensor] = self.network.get_submodule("pyramid")(image)
        if isinstance(self.network, KTDA):
            return self.network.align(image, levels)
        fuse = self.network.get_submodule("fuse")
        return fuse.projected(levels) if isinstance(fuse, Fuse) else ()


def teacher_of(spec: ViTTeacherSpec | CardTeacherSpec, bands: Sequence[CardBand]) -> Teacher:
    """Build a teacher for a student that sees these bands.

    Raises:
        SpecError: the teacher is no ViT that timm knows, or looks at bands that the student does not have.
        WeightsError: its weights cannot be had.
        CardError: its card is refused.
    """
    if isinstance(spec, ViTTeacherSpec):
        view = BandView(bands, spec.bands)
        return ViTTeacher(_pretrained(spec), view)
    path = spec.file()
    card = ModelCard.read(path)
    view = BandView(bands, [TeacherBand(name=band.name, mean=band.mean, stddev=band.stddev) for band in card.bands])
    network = build(card.spec)
    load_weights(network, path.parent / card.weights_name, card.weights_sha256)
    return CardTeacher(network, view)


def _pretrained(spec: ViTTeacherSpec) -> VisionTransformer:
    path = spec.file()
    # timm would forgive missing tensors where it may drop a classifier: it is kept if the file has one.
    source = {"file": str(path), "classifier": None}
    try:
        vit = timm.create_model(spec.name, pretrained=True, pretrained_cfg_overlay=source, **_options(spec, path))
    except TypeError as error:
        raise SpecError(f"teacher {spec.name}: only plain vision transformers can teach ({error})") from error
    except (RuntimeError, KeyError, ValueError, SafetensorError) as error:
        raise WeightsError(f"teacher {spec.name}: {path} does not hold its weights: {error}") from error
    if not isinstance(vit, VisionTransformer):
        raise SpecError(f"teacher {spec.name}: only plain vision transformers can teach, this is another network")
    if not all(bool(tensor.isfinite().all()) for tensor in vit.state_dict().values()):
        raise WeightsError(f"teacher {spec.name}: {path} holds NaN or infinity")
    return vit


def _options(spec: ViTTeacherSpec, path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        headless = not any(name.startswith("head.") for name in file.keys())  # noqa: SIM118 - it is no mapping
    options = {"in_chans": len(spec.bands), "dynamic_img_size": True}
    return options | {"num_classes": 0} if headless else options
