import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pyogrio
import pytest
from workingstate import CLOUDS, LEGEND, blobs, make, request_of

from rspipe.pipeline.publish import publish_run, publish_scene
from rspipe.pipeline.style import class_style, outline_style, rgb

DRAWN = [entry for entry in LEGEND.classes if entry.id in CLOUDS]
SLD = "{http://www.opengis.net/sld}"
OGC = "{http://www.opengis.net/ogc}"
debian = pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="Debian's python3-gdal is not installed")
QGIS = """
import sys
from qgis.core import QgsApplication, QgsVectorLayer
app = QgsApplication([], False)
app.initQgis()
for name in sys.argv[2:]:
    layer = QgsVectorLayer(f"{sys.argv[1]}|layername={name}", name, "ogr")
    print(layer.loadDefaultStyle()[1], layer.renderer().type())
    for category in layer.renderer().categories() if layer.renderer().type() == "categorizedSymbol" else []:
        fill = category.symbol().symbolLayer(0)
        print(category.value(), category.label(), category.symbol().color().name(), fill.strokeStyle())
"""


def has_qgis() -> bool:
    probe = ["/usr/bin/python3", "-c", "import qgis.core"]
    return Path(probe[0]).exists() and subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("style")
    made = make(root, blobs(90, 120))
    publish_scene(made.job)
    publish_run(request_of(root, made.outcome()))
    return root / "cloud_thickness.gpkg"


def test_colours_are_read_as_written() -> None:
    assert rgb("#7fc8FF") == (0x7F, 0xC8, 0xFF)


def test_the_sld_has_one_filtered_fill_per_class() -> None:
    root = ET.fromstring(class_style("clouds", DRAWN).sld)  # noqa: S314 - our own text
    found = [
        (rule.findtext(f".//{OGC}Literal"), rule.findtext(f"{SLD}Name"), rule.findtext(f".//{SLD}CssParameter"))
        for rule in root.iter(f"{SLD}Rule")
    ]
    assert found == [(str(entry.id), entry.name, entry.colour) for entry in DRAWN]
    assert not list(root.iter(f"{SLD}Stroke"))


def test_an_outline_has_no_fill() -> None:
    root = ET.fromstring(outline_style("scenes").sld)  # noqa: S314 - our own text
    assert not list(root.iter(f"{SLD}Fill"))
    assert len(list(root.iter(f"{SLD}Stroke"))) == 1


def test_styles_lie_where_qgis_looks(package: Path) -> None:
    frame = pyogrio.read_dataframe(package, layer="layer_styles")
    assert frame["f_table_name"].tolist() == ["cloud_thickness", "scenes"]
    assert frame["useAsDefault"].tolist() == [True, True]
    column = pyogrio.read_info(package, layer="cloud_thickness")["geometry_name"]
    assert frame["f_geometry_column"].tolist() == [column, column]
    contents = pyogrio.read_dataframe(package, sql="SELECT table_name, data_type FROM gpkg_contents")
    assert dict(contents.to_numpy())["layer_styles"] == "attributes"


@debian
def test_debian_calls_it_a_valid_geopackage(package: Path) -> None:
    checker = ["/usr/bin/python3", "-m", "osgeo_utils.samples.validate_gpkg", str(package)]
    ended = subprocess.run(checker, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    summary = subprocess.check_output(["ogrinfo", "-so", package], text=True)
    assert "1: cloud_thickness (Multi Polygon)" in summary
    assert "WARNING" not in summary.upper()


@pytest.mark.skipif(not has_qgis(), reason="Debian's python3-qgis is not installed")
def test_qgis_finds_the_styles_by_itself(package: Path) -> None:
    command = ["/usr/bin/python3", "-c", QGIS, str(package), "cloud_thickness", "scenes"]
    text = subprocess.run(
        command,
        env={"QT_QPA_PLATFORM": "offscreen", "HOME": str(package.parent)},
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    classes = [f"{entry.id} {entry.name} {entry.colour} 0" for entry in DRAWN]
    assert text.splitlines() == ["True categorizedSymbol", *classes, "True singleSymbol"]
