"""Skies without a ground: cloud layers, their shadows and their light, to be laid over real scenes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.clouds import layers_at
from rspipe.catalogs.compiled import kept
from rspipe.catalogs.radiation import World, sources, summed, sunlit
from rspipe.catalogs.simulated import patch_spec, world_of
from rspipe.catalogs.simulation import SimulationSpec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SkyBlock:
    """What stands above a square of ground."""

    thickness: NDArray[np.float32]
    """(4, H, W), optical thickness of haze, cumulus, deck and cirrus straight above."""
    shade: NDArray[np.float32]
    """(H, W), optical thickness of all layers on the way to the sun."""
    light: NDArray[np.float32]
    """(H, W), how the sun meets the cloud's top: above 1 on the slopes that face it."""
    height_m: tuple[float, float, float, float]
    """Of each layer, lowest first."""
    pixel_m: float
    """Ground size of a pixel."""


def sky_block(spec: SimulationSpec) -> SkyBlock:
    """Compute the sky of a whole simulated scene."""
    shape = (spec.height_px, spec.width_px)
    block = SkyBlock(
        thickness=np.empty((4, *shape), np.float32),
        shade=np.empty(shape, np.float32),
        light=np.empty(shape, np.float32),
        height_m=world_of(spec).sky.height_m,
        pixel_m=spec.pixel_size_m,
    )
    _LOOP(world_of(spec), block.thickness, block.shade, block.light)
    return block


def training_sky(seed: int, index: int, size_px: int, pixel_size_m: float) -> SkyBlock:
    """Return one sky of the kind that `simulated.training_patch` has: the same weathers and suns."""
    return sky_block(patch_spec(seed, index, size_px, pixel_size_m))


type _Loop = Callable[[World, NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], int]


def _build(sources_digest: int) -> _Loop:
    """Compile the loop over a block; the digest tells the compiler's cache which state of all files it belongs to."""

    def loop(
        world: World, thickness: NDArray[np.float32], shade: NDArray[np.float32], light: NDArray[np.float32]
    ) -> int:
        layers = np.empty(4)
        pixel_m = world.ground.pixel_m
        for row in range(shade.shape[0]):
            for column in range(shade.shape[1]):
                x_m, y_m = (column + 0.5) * pixel_m, (row + 0.5) * pixel_m
                layers_at(world.sky, x_m, y_m, world.sunward, layers)
                shade[row, column] = summed(layers)
                layers_at(world.sky, x_m, y_m, (0.0, 0.0), layers)
                thickness[:, row, column] = layers
                light[row, column] = sunlit(world, x_m, y_m, layers)
        return sources_digest

    return kept(loop)


_LOOP = _build(sources())
