"""Pretrained encoders: weights of timm, of torchgeo, or of a file, put into a pyramid whose bands are its own.

Only safetensors are ever opened. timm keeps such files on its hub. torchgeo's files are pickles, so their user converts
them, once, where their maker is trusted; what bands they take is known from torchgeo's table all the same.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Self

import timm
import torch
from huggingface_hub import hf_hub_download
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rspipe.catalogs.sensors import SENSORS
from rspipe.models.errors import SpecError, WeightsError
from rspipe.models.pyramid import RESNETS, Pyramid
from rspipe.models.specs import StrictModel

HUB_FILE = "model.safetensors"
HOW_TO_CONVERT = (
    "only .safetensors files are opened; load the file once with torch (weights_only=True) where you trust its maker, "
    "and write its tensors with safetensors.torch.save_file"
)
_PHOTOGRAPH = ("red", "green", "blue")
_HEADS = ("head.", "fc.", "norm_pre.", "norm.")
"""Parts of a classifier that a pyramid does not have."""
_SENSOR_OF_PREFIX = MappingProxyType(
    {
        "SENTINEL2": "sentinel2",
        "LANDSAT_OLI_TIRS_TOA": "landsat8",
        "LANDSAT_OLI_SR": "landsat8-l2",
        "LANDSAT_ETM_TOA": "landsat7",
        "LANDSAT_ETM_SR": "landsat7-l2",
    }
)
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Encoder:
    """Weights as they were trained."""

    path: Path
    bands: tuple[str | None, ...]
    """What the channels of its first convolution took; None where we have no name for it."""
    prefix: str = ""
    """What the names of its tensors begin with."""

    def __post_init__(self) -> None:
        if self.path.suffix != ".safetensors":
            raise WeightsError(f"{self.path}: {HOW_TO_CONVERT}")
        if not self.path.is_file():
            raise WeightsError(f"{self.path}: no such file of pretrained weights")


class TimmWeights(StrictModel):
    """Weights of timm, trained on photographs; ConvNeXt of the sizes atto to base and ResNets fit."""

    source: Literal["timm"]
    name: str
    """With its tag: `convnext_tiny.fb_in22k_ft_in1k`."""
    path: Path | None = None
    """A `.safetensors` file; None asks the Hugging Face hub, or what it left on disk earlier."""

    def under(self, root: Path) -> Self:
        """Return the weights with their path below a folder."""
        return self.model_copy(update={"path": self.path and root / self.path})

    def encoder(self) -> Encoder:
        """Find the file.

        Raises:
            SpecError: timm has no such weights.
            WeightsError: they are not on this machine and the hub cannot be asked.
        """
        known = timm.get_pretrained_cfg(self.name) if timm.is_model(self.name.partition(".")[0]) else None
        if self.path is not None and known is not None:
            return Encoder(self.path, _PHOTOGRAPH)
        if known is None or not known.hf_hub_id:
            raise SpecError(f"pretrained {self.name}: timm {timm.__version__} has no weights of this name")
        try:
            return Encoder(Path(hf_hub_download(known.hf_hub_id, HUB_FILE)), _PHOTOGRAPH)
        except OSError as error:
            raise WeightsError(
                f"pretrained {self.name}: {HUB_FILE} of {known.hf_hub_id} is not on this machine and the Hugging Face "
                "hub cannot be asked; fetch it elsewhere and name the file as path:"
            ) from error


class TorchGeoWeights(StrictModel):
    """Weights of torchgeo, trained on satellite scenes; its ResNets fit a pyramid of their size."""

    source: Literal["torchgeo"]
    name: str
    """`ResNet18_Weights.LANDSAT_OLI_TIRS_TOA_MOCO`."""
    path: Path
    """The `.safetensors` file that its user has made of torchgeo's."""

    def under(self, root: Path) -> Self:
        """Return the weights with their path below a folder."""
        return self.model_copy(update={"path": root / self.path})

    def encoder(self) -> Encoder:
        """Look up what the channels are.

        Raises:
            SpecError: torchgeo has no such weights, or they are no encoder that a pyramid can be.
            WeightsError: the file is missing.
        """
        from torchgeo.models import get_weight  # noqa: PLC0415  slow to import, and rarely used

        try:
            known = get_weight(self.name)
        except (KeyError, ValueError) as error:
            raise SpecError(f"pretrained {self.name}: torchgeo has no weights of this name") from error
        if known.meta.get("model") not in RESNETS:
            raise SpecError(
                f"pretrained {self.name}: is a {known.meta.get('model')}; of torchgeo's weights those of resnet18, "
                "resnet50 and resnet152 fit, none is a ConvNeXt"
            )
        if not self.path.is_file():
            raise WeightsError(
                f"pretrained {self.name}: {self.path} does not exist; fetch {known.url}. {HOW_TO_CONVERT}"
            )
        return Encoder(self.path, _common_names(self.name, known.meta.get("bands") or ()))


class FileWeights(StrictModel):
    """Weights of any origin, also of a model of ours."""

    source: Literal["file"]
    path: Path
    bands: Annotated[tuple[str, ...], Field(min_length=1)]
    """Common names of what the first convolution's channels took."""
    prefix: str = ""
    """What the names of the encoder's tensors begin with; `pyramid.body.` in weights of ours."""

    def under(self, root: Path) -> Self:
        """Return the weights with their path below a folder."""
        return self.model_copy(update={"path": root / self.path})

    def encoder(self) -> Encoder:
        """Return what the settings say."""
        return Encoder(self.path, self.bands, self.prefix)


type Pretrained = Annotated[TimmWeights | TorchGeoWeights | FileWeights, Field(discriminator="source")]


def load_encoder(pyramid: Pyramid, encoder: Encoder, bands: Sequence[str]) -> None:
    """Fill a pyramid from pretrained weights; norms of its own, which these do not have, stay as they are.

    The first convolution is put together band by band: a band that the weights know keeps its kernel, any other gets
    the mean kernel; all are scaled by the old number of channels over the new one, as timm does for repeated channels.

    Args:
        pyramid: it is unchanged if this raises.
        encoder: the weights.
        bands: what the pyramid's channels take.

    Raises:
        WeightsError: the file cannot be read, lacks tensors, has others or more blocks than the pyramid, or holds NaN.
    """
    state = _stripped(_read(encoder.path), encoder.prefix)
    body = pyramid.body.state_dict()
    sources = {name: _name_in(state, name) for name in body}
    first = next(iter(body))
    problems = [f"{name}: missing" for name, source in sources.items() if source not in state]
    problems += [
        f"{name}: not in the pyramid" for name in state.keys() - set(sources.values()) if not name.startswith(_HEADS)
    ]
    fitted = {name: _reshaped(state[source], body[name]) for name, source in sources.items() if source in state}
    if first in fitted:
        fitted[first] = _stem(fitted[first], encoder, bands)
    problems += [
        f"{name}: {tuple(tensor.shape)}, the pyramid has {tuple(body[name].shape)}"
        for name, tensor in fitted.items()
        if tensor.shape != body[name].shape
    ]
    problems += [
        f"{name}: holds NaN or infinity" for name, tensor in fitted.items() if not bool(tensor.isfinite().all())
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:_SHOWN])
        raise WeightsError(f"{encoder.path} does not fit the pyramid, {len(problems)} differences: {shown}")
    pyramid.body.load_state_dict(fitted)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}); {HOW_TO_CONVERT}") from error


def _stripped(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _name_in(state: Mapping[str, Tensor], name: str) -> str:
    """Return a pyramid's name as timm's whole models have it: `stages.0.` for `stages_0.`."""
    return name if name in state else re.sub(r"^([a-z]+)_(\d+)\.", r"\1.\2.", name)


def _reshaped(tensor: Tensor, like: Tensor) -> Tensor:
    """Let a 1x1 convolution be the linear layer that it is: timm writes the small ConvNeXts' in that form."""
    return (
        tensor.flatten(1)
        if tensor.ndim == 4 and like.ndim == 2 and tensor.shape[2:] == (1, 1)
        else tensor.to(like.dtype)
    )


def _stem(weight: Tensor, encoder: Encoder, bands: Sequence[str]) -> Tensor:
    if weight.ndim != 4 or weight.shape[1] != len(encoder.bands):
        found = f"its first tensor is {tuple(weight.shape)}"
        raise WeightsError(f"{encoder.path}: {found}, a convolution over {len(encoder.bands)} channels is expected")
    mean = weight.mean(dim=1)
    kernels = [weight[:, encoder.bands.index(band)] if band in encoder.bands else mean for band in bands]
    return torch.stack(kernels, dim=1) * (len(encoder.bands) / len(bands))


def _common_names(name: str, labels: Sequence[str]) -> tuple[str | None, ...]:
    member = name.partition(".")[2]
    sensors = [sensor for prefix, sensor in _SENSOR_OF_PREFIX.items() if member.startswith(prefix)]
    if not sensors or not labels:
        raise SpecError(
            f"pretrained {name}: its channels ({', '.join(labels) or 'unnamed'}) have no common names here; give "
            "source: file with bands:"
        )
    found = (SENSORS[sensors[0]].band_of_label(label) for label in labels)
    return tuple(band.name if band else None for band in found)
