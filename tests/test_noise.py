import numpy as np
import oracle_hash
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rspipe.catalogs import noise
from rspipe.catalogs.compiled import compiled

uint64s = st.integers(0, 2**64 - 1)
coordinates = st.integers(-(2**62), 2**62)
SPECTRUM = noise.Spectrum(8000.0, 30.0, 0.5)


@compiled
def _gradient_field(stream_key: np.uint64, side: int, step: float) -> NDArray[np.float64]:
    field = np.empty((side, side))
    for row in range(side):
        for column in range(side):
            field[row, column] = noise.gradient_noise(stream_key, column * step, row * step)
    return field


@compiled
def _fractal_field(stream_key: np.uint64, side: int, spectrum: noise.Spectrum) -> NDArray[np.float64]:
    field = np.empty((side, side))
    for row in range(side):
        for column in range(side):
            field[row, column] = noise.fractal(stream_key, column * 240.0, row * 240.0, spectrum)
    return field


def test_known_answers_of_splitmix64() -> None:
    # The first outputs of the reference implementation (Vigna, prng.di.unimi.it/splitmix64.c) from state 0.
    published = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)
    assert tuple(int(noise.lattice_hash(np.uint64(0), step, 0)) for step in (1, 2, 3)) == published


@settings(deadline=None)
@given(seed=uint64s, stream=st.integers(0, 200), row=coordinates, column=coordinates)
def test_hash_equals_whole_number_arithmetic(seed: int, stream: int, row: int, column: int) -> None:
    found = noise.lattice_hash(np.uint64(noise.key(np.uint64(seed), stream)), row, column)
    assert int(found) == oracle_hash.lattice_hash(oracle_hash.key(seed, stream), row, column)


@settings(deadline=None)
@given(seed=uint64s, row=coordinates, column=coordinates)
def test_uniform_lies_in_the_half_open_unit_interval(seed: int, row: int, column: int) -> None:
    assert 0.0 <= noise.uniform(np.uint64(seed), row, column) < 1.0


def test_bell_has_mean_0_and_deviation_1() -> None:
    numbers = np.array([noise.bell(np.uint64(3), row, column) for row in range(150) for column in range(150)])
    assert abs(numbers.mean()) < 0.03
    assert numbers.std() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("seed", [0, 1, 2**63])
def test_gradient_noise_has_deviation_1_and_vanishes_at_lattice_points(seed: int) -> None:
    field = _gradient_field(np.uint64(seed), 1000, 0.1)
    assert field.std() == pytest.approx(1.0, abs=0.05)
    assert np.abs(field[::10, ::10]).max() < 1e-9


def test_gradient_noise_is_continuous() -> None:
    field = _gradient_field(np.uint64(5), 1000, 0.01)
    assert np.abs(np.diff(field, axis=0)).max() < 0.2
    assert np.abs(np.diff(field, axis=1)).max() < 0.2


def test_fractal_has_deviation_1_with_all_octaves() -> None:
    assert _fractal_field(np.uint64(9), 700, SPECTRUM._replace(wavelength_m=3000.0)).std() == pytest.approx(
        1.0, abs=0.06
    )


def test_coarser_pixels_leave_the_coarse_octaves_as_they_are() -> None:
    fine, coarse = (_fractal_field(np.uint64(9), 300, SPECTRUM._replace(pixel_m=size)) for size in (30.0, 120.0))
    # Missing: the octaves below 240 m, of amplitude sqrt(3/4) / 2^5 and less; all that lies above is the same number.
    assert 0.0 < np.abs(fine - coarse).std() < 0.05


def test_streams_are_independent() -> None:
    first, second = (_gradient_field(np.uint64(noise.key(np.uint64(1), stream)), 600, 0.2).ravel() for stream in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


@settings(max_examples=30, deadline=None)
@given(low=st.floats(-5, 5), width=st.floats(0.01, 5), value=st.floats(-20, 20))
def test_smooth_step_stays_between_0_and_1(low: float, width: float, value: float) -> None:
    assert 0.0 <= noise.smooth_step(low, low + width, value) <= 1.0
