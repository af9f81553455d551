"""Architectures as data: everything that is needed to build a model, as it stands in cards and training configs."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Size = Literal["pico", "atto", "femto", "nano", "tiny", "small", "base"]


class StrictModel(BaseModel):
    """What is read from a file: no unknown keys, no conversions, no changes afterwards."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class PyramidSpec(StrictModel):
    """A ConvNeXt without its classifier. Depths and widths per size: `pyramid.SIZES`."""

    size: Size
    in_bands: int = Field(ge=1, le=64)
    drop_path: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Largest stochastic depth rate, reached at the last block; active in training only."""
    level_norms: bool = False
    """Normalise each output map over its channels (KTDA does, D2LS does not)."""


class D2LSSpec(StrictModel):
    """The dictionary model, arXiv 2503.06683. The defaults are the paper's."""

    name: Literal["d2ls"] = "d2ls"
    pyramid: PyramidSpec
    classes: int = Field(ge=1, le=255)
    width: int = Field(default=256, ge=32, le=1024)
    """D, the width of an atom and of the fused map."""
    heads: int = Field(default=8, ge=1, le=32)
    stages: int = Field(default=3, ge=1, le=8)
    """L, how often dictionary and image query one another."""
    subatoms: int = Field(default=4, ge=1, le=16)
    """q, into how many vectors each static atom is expanded before they are mixed."""

    @model_validator(mode="after")
    def _widths_divide(self) -> Self:
        if self.width % 16 or (self.width // 2) % self.heads:
            raise ValueError(
                f"width {self.width} must be a multiple of 16 (two pixel shuffles) and half of it of heads {self.heads}"
            )
        return self


ModelSpec = D2LSSpec
"""Every architecture that `build.build` knows."""
