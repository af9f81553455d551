"""Architectures as data: everything that is needed to build a model, as it stands in cards and training configs."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Size = Literal["pico", "atto", "femto", "nano", "tiny", "small", "base", "resnet18", "resnet50", "resnet152"]
"""ConvNeXts by their usual names, and those ResNets that satellite weights exist for."""

Precision = Literal["float32", "bfloat16", "float16"]
"""What matrix products and convolutions run in."""

Engine = Literal["eager", "compiled"]
"""How a graph runs: operation by operation, or as machine code made of the whole."""


class StrictModel(BaseModel):
    """What is read from a file: no unknown keys, no conversions, no changes afterwards."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class PyramidSpec(StrictModel):
    """An encoder without its classifier. Depths and widths per size: `pyramid.SIZES` and `pyramid.RESNETS`."""

    size: Size
    in_bands: int = Field(ge=1, le=64)
    drop_path: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Largest stochastic depth rate, reached at the last block; active in training only."""
    level_norms: bool = False
    """Normalise each output map over its channels (KTDA does, D2LS does not)."""
    compress: bool = False
    """Take asinh(z + 2) - asinh(2) of the normalised numbers z first. With a small `stddev` of a reflectance (0.1) and
    twice that as `mean` it is asinh(R / stddev) up to a constant, a logarithm of all that is brighter: a change of
    light becomes a shift, a ratio of bands a difference."""


class AttentionSpec(StrictModel):
    """The exchange of D2LS: class atoms and pixels attend to one another in turn."""

    name: Literal["attention"] = "attention"
    heads: int = Field(default=8, ge=1, le=32)
    reads: Literal["both", "atoms", "pixels"] = "both"
    """Who reads whom: `atoms` leaves the map as it is, `pixels` leaves the atoms as they are."""


class SynergySpec(StrictModel):
    """The exchange of BiCoR-Seg: one heatmap per class says where atoms gather and how pixels are modulated."""

    name: Literal["synergy"] = "synergy"
    ratio: float = Field(default=0.02, gt=0.0, le=1.0)
    """Share of the pixels, the strongest of each class, that an atom gathers from."""
    least_px: int = Field(default=64, ge=1)
    """It gathers from at least so many cells."""
    gate: Literal["mlp", "linear"] = "mlp"
    """The released code, or the paper's figure: one linear gate that blends the gathered vector itself."""
    blend: Literal["convex", "residual"] = "convex"
    """The released code (half old map, half modulated), or the paper's figure (their sum)."""


ExchangeSpec = Annotated[AttentionSpec | SynergySpec, Field(discriminator="name")]
"""How atoms and map refine one another; either serves either model."""


class D2LSSpec(StrictModel):
    """The dictionary model, arXiv 2503.06683. The defaults are the paper's."""

    name: Literal["d2ls"] = "d2ls"
    pyramid: PyramidSpec
    classes: int = Field(ge=1, le=255)
    width: int = Field(default=256, ge=32, le=1024)
    """D, the width of an atom and of the fused map."""
    stages: int = Field(default=3, ge=1, le=8)
    """L, how often dictionary and image query one another."""
    exchange: ExchangeSpec | None = AttentionSpec()
    """None: the dictionary meets the map at the dot product only."""
    dictionary: Literal["dynamic", "static", "none"] = "dynamic"
    """`static`: the same atoms for every image, no auxiliary branch. `none`: a plain linear head on the upsampled map,
    the baseline without any class vector; `stages`, `exchange` and `subatoms` then have no effect."""
    subatoms: int = Field(default=4, ge=1, le=16)
    """q, into how many vectors each static atom is expanded before they are mixed."""
    aggregate: bool = True
    """Fuse all levels of the pyramid; otherwise only the deepest is projected and upsampled."""
    detail: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(), strict=False)
    """Channels of the bands of which pixels also get what their own cell of 4 x 4 px shows, by one linear map past the
    encoder. The paper has no such way."""
    smooth: bool = False
    """In evaluation, average logits over the length of a cell: borders do not follow the cells of 4 px then. The paper
    does not."""

    @model_validator(mode="before")
    @classmethod
    def _first_cards(cls, data: object) -> object:
        """The first cards and configs name the heads of the attention beside the stages."""
        if isinstance(data, dict) and "heads" in data and "exchange" not in data:
            others = {name: value for name, value in data.items() if name != "heads"}
            return {**others, "exchange": {"name": "attention", "heads": data["heads"]}}
        return data

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_width(self.width, self.exchange)
        bands = self.pyramid.in_bands
        if len(set(self.detail)) < len(self.detail) or max(self.detail, default=0) >= bands:
            raise ValueError(f"detail {self.detail}: these must be different channels of the {bands} bands, from 0 on")
        return self


class BiCoRSpec(StrictModel):
    """BiCoR-Seg, arXiv 2512.20255. The defaults are those published for LoveDA."""

    name: Literal["bicor"] = "bicor"
    pyramid: PyramidSpec
    classes: int = Field(ge=1, le=255)
    width: int = Field(default=256, ge=32, le=1024)
    """The width of a class vector and of the fused map."""
    stages: int = Field(default=2, ge=1, le=8)
    """L, how often class vectors and image exchange information."""
    exchange: ExchangeSpec = SynergySpec()
    smooth: bool = False
    """Average logits over the length of a cell; see `D2LSSpec`."""

    @model_validator(mode="after")
    def _widths_divide(self) -> Self:
        _check_width(self.width, self.exchange)
        return self


class KTDASpec(StrictModel):
    """KTDA, arXiv 2412.06664. The defaults are the paper's; its student is `base` with `drop_path` 0.4."""

    name: Literal["ktda"] = "ktda"
    pyramid: PyramidSpec
    classes: int = Field(ge=1, le=255)
    width: int = Field(default=768, ge=32, le=1536)
    """The width of the teacher, and of everything up to the head."""
    heads: int = Field(default=8, ge=1, le=32)
    blocks: int = Field(default=4, ge=0, le=12)
    """Transformer blocks per level."""
    coarse_only: bool = False
    """No blocks on the finest level, whose attention costs sixteen times that of the next."""
    head_width: int = Field(default=512, ge=8, le=1024)
    """Channels inside the UPerNet head."""
    aux_width: int = Field(default=256, ge=8, le=1024)
    """Channels inside the auxiliary head, which acts in training only."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if not self.pyramid.level_norms:
            raise ValueError("KTDA normalises every map of its student: set pyramid.level_norms to true")
        return self


def _check_width(width: int, exchange: AttentionSpec | SynergySpec | None) -> None:
    if width % 16:
        raise ValueError(f"width {width} must be a multiple of 16 (two pixel shuffles)")
    if isinstance(exchange, AttentionSpec) and (width // 2) % exchange.heads:
        raise ValueError(f"half of width {width} must be a multiple of heads {exchange.heads}")


ModelSpec = Annotated[D2LSSpec | BiCoRSpec | KTDASpec, Field(discriminator="name")]
"""Every architecture that `build.build` knows."""
