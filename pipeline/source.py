"""What windows see of a scene: stored numbers and validity, in the order in which a model asks for its bands."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zarr
from numpy.typing import NDArray

from rspipe.models.card import ModelCard
from rspipe.pipeline import store
from rspipe.pipeline.errors import SceneFailedError

READ_PX = 1024
"""Columns that are read at a time, where chunks are not wider: a call of zarr costs as much as decoding ten chunks."""


class Plane(Protocol):
    """What windows are cut from: an array of the store, or one in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored numbers."""
        ...

    @property
    def chunks(self) -> tuple[int, ...]:
        """Rows and columns that are best read together."""
        ...

    def __getitem__(self, selection: Any, /) -> Any: ...  # noqa: ANN401 - zarr's own signature


@dataclass(frozen=True, slots=True)
class HeldPlane:
    """A plane that is in memory already."""

    numbers: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W)."""
        return self.numbers.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers."""
        return self.numbers.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """The whole plane."""
        return self.numbers.shape

    def __getitem__(self, selection: tuple[slice, slice], /) -> NDArray[Any]:
        cut: NDArray[Any] = self.numbers[selection]
        return cut


@dataclass(frozen=True, slots=True)
class StoredBand:
    """One band in the store: physical = scale * stored + offset; valid where bit `bit` of the validity is set."""

    array: Plane
    scale: float
    offset: float
    bit: int


@dataclass(frozen=True, slots=True)
class Source:
    """The bands of a scene that a model asks for, in the model's order; None where the scene lacks an optional one."""

    names: tuple[str, ...]
    bands: tuple[StoredBand | None, ...]
    validity: Plane
    required_mask: int

    @classmethod
    def open(cls, path: Path, names: Sequence[str], required: Collection[str]) -> "Source":
        """Open a scene's bands.

        Args:
            path: the Zarr group that ingest wrote.
            names: common names, in the order in which the model takes them.
            required: those without which a pixel is invalid.

        Raises:
            SceneFailedError: the scene lacks a required band.
        """
        validity = store.open_array(path, store.VALIDITY)
        bits = {name: bit for bit, name in enumerate(str(validity.attrs["flag_meanings"]).split())}
        missing = [name for name in required if name not in bits]
        if missing:
            raise SceneFailedError(
                f"{path}: the model requires {', '.join(missing)}; the scene has {', '.join(bits)}; "
                "choose a model that asks for these bands, or add the missing files to the scene"
            )
        bands = tuple(_open_band(path, name, bits[name]) if name in bits else None for name in names)
        return cls(tuple(names), bands, validity, sum(1 << bits[name] for name in required))

    @classmethod
    def hold(cls, numbers: NDArray[np.float32], present: NDArray[np.bool_], card: ModelCard) -> "Source":
        """Take bands that are in memory.

        Args:
            numbers: (C, H, W) in physical units, in the order of the card.
            present: (C, H, W), where a band holds a number.
            card: says which bands are required.
        """
        places = np.arange(len(present), dtype=np.uint32)
        bits = np.bitwise_or.reduce(present.astype(np.uint32) << places[:, None, None], axis=0)
        bands = tuple(StoredBand(HeldPlane(band), 1.0, 0.0, bit) for bit, band in enumerate(numbers))
        required = sum(1 << bit for bit, band in enumerate(card.bands) if band.required)
        return cls(tuple(band.name for band in card.bands), bands, HeldPlane(bits), required)

    def valid(self, bits: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.bool_]:
        """Tell where every required band is valid; `bits` are numbers of the validity array."""
        mask = bits.dtype.type(self.required_mask)
        return np.asarray((bits & mask) == mask, dtype=np.bool_)

    def is_valid(self, everywhere: int) -> bool:
        """Tell whether every required band is valid where these bits are set."""
        return everywhere & self.required_mask == self.required_mask

    def is_whole(self, everywhere: int) -> bool:
        """Tell whether every band that the scene has is valid where these bits are set."""
        return all(band is None or everywhere >> band.bit & 1 for band in self.bands)


def _open_band(path: Path, name: str, bit: int) -> StoredBand:
    array = store.open_array(path, name)
    return StoredBand(array, _number(array, "scale_factor", 1.0), _number(array, "add_offset", 0.0), bit)


def _number(array: zarr.Array[Any], name: str, default: float) -> float:
    value = array.attrs.get(name, default)
    if not isinstance(value, int | float):
        raise SceneFailedError(f"{array.store_path}: {name} is {value!r}, not a number; run with --fresh")
    return float(value)
