from math import isclose, log

import pytest

from rspipe.catalogs.bands import PHYSICAL_UNIT, Unit
from rspipe.catalogs.errors import SceneError, SourceError
from rspipe.catalogs.scene import Linear, Planck
from rspipe.catalogs.sensors import SENSORS, Circumstances, conversion_of, sensor_of

NOTHING = Circumstances()


def reflectance(sensor: str, band: str, dn: float, circumstances: Circumstances) -> float:
    conversion = conversion_of(sensor_of(sensor), band, Unit.DN, circumstances)
    assert isinstance(conversion, Linear)
    return conversion.scale * dn + conversion.offset


@pytest.mark.parametrize("sensor", ["landsat8", "landsat9"])
@pytest.mark.parametrize("band", ["coastal", "blue", "nir", "swir22", "pan", "cirrus"])
def test_landsat_reflectance_by_the_handbook(sensor: str, band: str) -> None:
    # Landsat 8 Data Users Handbook (LSDS-1574), section 5.3: (M Qcal + A) / sin(sun elevation), M = 2e-5, A = -0.1.
    # By hand, sun at 30 degrees: (0.2 - 0.1) / 0.5 = 0.2; sun overhead: 0.1.
    assert isclose(reflectance(sensor, band, 10000, Circumstances(sun_elevation_deg=30.0)), 0.2, abs_tol=1e-9)
    assert isclose(reflectance(sensor, band, 10000, Circumstances(sun_elevation_deg=90.0)), 0.1, abs_tol=1e-9)


@pytest.mark.parametrize(
    ("sensor", "band", "expected_k"),
    [
        # Handbook section 5.4, T = K2 / ln(K1 / L + 1), constants of the products' MTL files, Qcal = 25000.
        ("landsat8", "lwir11", 291.706),  # L = 8.455, K1 / L + 1 = 92.6482, ln = 4.528809
        ("landsat8", "lwir12", 295.972),  # L = 8.455, K1 / L + 1 = 57.8762, ln = 4.058307
        ("landsat9", "lwir11", 299.812),  # L = 9.600, K1 / L + 1 = 84.2321, ln = 4.433576
        ("landsat9", "lwir12", 299.176),  # L = 8.825, K1 / L + 1 = 54.8989, ln = 4.005494
    ],
)
def test_brightness_temperature_by_the_handbook(sensor: str, band: str, expected_k: float) -> None:
    conversion = conversion_of(sensor_of(sensor), band, Unit.DN, NOTHING)
    assert isinstance(conversion, Planck)
    radiance = conversion.gain * 25000 + conversion.offset
    assert conversion.k2 / log(conversion.k1 / radiance + 1) == pytest.approx(expected_k, abs=5e-3)


def test_landsat_level_2_by_the_usgs_example() -> None:
    # USGS, "How do I use a scale factor with Landsat Level-2 science products?": 18639 -> 0.313.
    assert reflectance("landsat8-l2", "red", 18639, NOTHING) == pytest.approx(0.313, abs=5e-4)
    # 0.00341802 x 45677 + 149 = 156.1249 + 149
    assert reflectance("landsat9-l2", "lwir11", 45677, NOTHING) == pytest.approx(305.125, abs=5e-4)


@pytest.mark.parametrize("sensor", ["sentinel2", "sentinel2-l2a"])
@pytest.mark.parametrize(
    ("circumstances", "expected"),
    [
        # ESA: (DN + offset) / 10000, offset -1000 since 04.00 (https://forum.step.esa.int/t/34760): 1452 -> 0.0452.
        (Circumstances(processing_baseline="04.00"), 0.0452),
        (Circumstances(processing_baseline="05.11"), 0.0452),
        (Circumstances(processing_baseline="03.01"), 0.1452),
        (Circumstances(processing_baseline="02.14"), 0.1452),
        (Circumstances(processing_baseline="05.11", offset_applied=True), 0.1452),
    ],
)
def test_sentinel_2_offset_depends_on_the_baseline(sensor: str, circumstances: Circumstances, expected: float) -> None:
    assert reflectance(sensor, "blue", 1452, circumstances) == pytest.approx(expected, abs=1e-9)


def test_celsius_becomes_kelvin() -> None:
    assert conversion_of(None, "lwir11", Unit.CELSIUS, NOTHING) == Linear(scale=1.0, offset=273.15)


@pytest.mark.parametrize(
    ("sensor", "band", "unit", "circumstances", "words"),
    [
        ("landsat8", "blue", Unit.DN, NOTHING, ["landsat8 digital numbers", "sun_elevation_deg:", "scene.yaml"]),
        ("landsat8", "blue", Unit.DN, Circumstances(sun_elevation_deg=-3.0), ["-3.0", "more than 0"]),
        ("sentinel2", "blue", Unit.DN, NOTHING, ["sentinel2 digital numbers", "processing_baseline:", "scene.yaml"]),
        ("sentinel2", "blue", Unit.DN, Circumstances(processing_baseline="4"), ["'4'", '"04.00"']),
        ("sentinel2-l2a", "cirrus", Unit.DN, NOTHING, ["has no band 'cirrus'"]),
        ("landsat7", "blue", Unit.DN, NOTHING, ["differ by scene", "MTL"]),
        ("rgb", "red", Unit.DN, NOTHING, ["no physical meaning", "unit: reflectance"]),
        ("landsat8", "blue", Unit.KELVIN, NOTHING, ["reflectance", "kelvin"]),
        ("landsat8", "lwir11", Unit.REFLECTANCE, NOTHING, ["kelvin", "reflectance"]),
        ("landsat8", "blue", Unit.CELSIUS, NOTHING, ["reflectance", "celsius"]),
        (None, "blue", Unit.DN, NOTHING, ["unknown sensor", "--sensor"]),
    ],
)
def test_what_is_missing_is_named_and_never_guessed(
    sensor: str | None, band: str, unit: Unit, circumstances: Circumstances, words: list[str]
) -> None:
    with pytest.raises(SceneError) as caught:
        conversion_of(sensor_of(sensor) if sensor else None, band, unit, circumstances)
    for word in words:
        assert word in str(caught.value)


def test_an_unknown_sensor_gets_the_nearest_name() -> None:
    with pytest.raises(SourceError, match=r"lansat8.*did you mean 'landsat8'\?"):
        sensor_of("lansat8")


def test_every_sensor_names_known_bands_once() -> None:
    for sensor in SENSORS.values():
        names = [band.name for band in sensor.bands]
        assert len(set(names)) == len(names)
        assert set(names) <= set(PHYSICAL_UNIT)


@pytest.mark.parametrize(
    ("sensor", "file_name", "scene", "band"),
    [
        ("landsat8", "LC08_L1TP_224078_20200518_01_RT_B2.TIF", "LC08_L1TP_224078_20200518_01_RT", "blue"),
        ("landsat8", "LC80130312015295LGN00_B10.tif", "LC80130312015295LGN00", "lwir11"),
        ("landsat8", "B5.tif", "", "nir"),
        ("landsat8", "x_B9.TIF", "x", "cirrus"),
        ("landsat9-l2", "LC09_L2SP_013031_02_T1_SR_B4.TIF", "LC09_L2SP_013031_02_T1", "red"),
        ("landsat9-l2", "LC09_L2SP_013031_02_T1_ST_B10.TIF", "LC09_L2SP_013031_02_T1", "lwir11"),
        ("landsat7-l2", "LE07_X_ST_B6.TIF", "LE07_X", "lwir11"),
        ("sentinel2", "T32TMK_20200101T101010_B02.jp2", "T32TMK_20200101T101010", "blue"),
        ("sentinel2", "T32TMK_20200101T101010_B8A.jp2", "T32TMK_20200101T101010", "nir08"),
        ("sentinel2-l2a", "T32TMK_20200101T101010_B8A_20m.jp2", "T32TMK_20200101T101010", "nir08"),
        ("sentinel2", "B12.tif", "", "swir22"),
        ("sentinel2", "B11.tif", "", "swir16"),
    ],
)  # fmt: skip
def test_file_names_name_scene_and_band(sensor: str, file_name: str, scene: str, band: str) -> None:
    found = sensor_of(sensor).band_of_file(file_name)
    assert found is not None
    assert (found[0], found[1].name) == (scene, band)


@pytest.mark.parametrize("file_name", ["x_BQA.TIF", "x_QA_PIXEL.TIF", "label.tif", "B2.png", "B20.tif", "xB2.tif"])
def test_other_files_are_no_band(file_name: str) -> None:
    assert sensor_of("landsat8").band_of_file(file_name) is None


@pytest.mark.parametrize(
    ("label", "band"), [("B8A", "nir08"), ("b08", "nir"), ("Band 2", "blue"), ("swir22", "swir22")]
)
def test_labels_name_bands(label: str, band: str) -> None:
    found = sensor_of("sentinel2").band_of_label(label)
    assert found is not None
    assert found.name == band
