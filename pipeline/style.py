"""How layers look when they are opened: QML for QGIS, SLD 1.0.0 for everything else."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from rspipe.catalogs.legends import LegendClass

_QML_HEADER = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_QGIS_VERSION = "3.22.0"
"""The oldest QGIS that reads symbols written as `Option` maps without a detour."""
_OUTLINE = "#444444"
_OUTLINE_WIDTH_MM = 0.4


def rgb(colour: str) -> tuple[int, int, int]:
    """Return the channels, 0 .. 255, of a colour written as `#rrggbb`."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


@dataclass(frozen=True, slots=True)
class Style:
    """One style of one layer, in both languages."""

    layer: str
    qml: str
    sld: str


def class_style(layer: str, classes: Sequence[LegendClass]) -> Style:
    """Return fills by `class_id` in the legend's colours and names, without outlines."""
    qgis, renderer = _qgis({"type": "categorizedSymbol", "attr": "class_id"})
    categories = ET.SubElement(renderer, "categories")
    symbols = ET.SubElement(renderer, "symbols")
    sld, rules = _sld(layer)
    for index, entry in enumerate(classes):
        ET.SubElement(
            categories, "category", type="long", value=str(entry.id), symbol=str(index), label=entry.name, render="true"
        )
        _symbol(symbols, index, {"color": _rgba(entry.colour), "style": "solid", "outline_style": "no"})
        rule = _rule(rules, entry.name, entry.id)
        _parameter(ET.SubElement(rule, "PolygonSymbolizer"), "Fill", {"fill": entry.colour})
    return Style(layer, _QML_HEADER + _text(qgis), _text(sld))


def outline_style(layer: str) -> Style:
    """Return one outline and no fill."""
    qgis, renderer = _qgis({"type": "singleSymbol"})
    outline = {
        "style": "no",
        "outline_style": "solid",
        "outline_color": _rgba(_OUTLINE),
        "outline_width": str(_OUTLINE_WIDTH_MM),
        "outline_width_unit": "MM",
    }
    _symbol(ET.SubElement(renderer, "symbols"), 0, outline)
    sld, rules = _sld(layer)
    stroke = {"stroke": _OUTLINE, "stroke-width": "1.5"}
    _parameter(ET.SubElement(_rule(rules, layer, None), "PolygonSymbolizer"), "Stroke", stroke)
    return Style(layer, _QML_HEADER + _text(qgis), _text(sld))


def _qgis(renderer: dict[str, str]) -> tuple[ET.Element, ET.Element]:
    qgis = ET.Element("qgis", version=_QGIS_VERSION, styleCategories="Symbology")
    return qgis, ET.SubElement(qgis, "renderer-v2", renderer)


def _symbol(parent: ET.Element, index: int, options: dict[str, str]) -> None:
    symbol = ET.SubElement(parent, "symbol", type="fill", name=str(index), alpha="1")
    layer = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1"})
    mapping = ET.SubElement(layer, "Option", type="Map")
    for name, value in options.items():
        ET.SubElement(mapping, "Option", name=name, type="QString", value=value)


def _rgba(colour: str) -> str:
    return ",".join(str(channel) for channel in (*rgb(colour), 255))


def _sld(layer: str) -> tuple[ET.Element, ET.Element]:
    root = ET.Element(
        "StyledLayerDescriptor",
        {"version": "1.0.0", "xmlns": "http://www.opengis.net/sld", "xmlns:ogc": "http://www.opengis.net/ogc"},
    )
    named = ET.SubElement(root, "NamedLayer")
    ET.SubElement(named, "Name").text = layer
    style = ET.SubElement(named, "UserStyle")
    ET.SubElement(style, "Name").text = layer
    return root, ET.SubElement(style, "FeatureTypeStyle")


def _rule(parent: ET.Element, name: str, class_id: int | None) -> ET.Element:
    rule = ET.SubElement(parent, "Rule")
    ET.SubElement(rule, "Name").text = name
    if class_id is not None:
        equal = ET.SubElement(ET.SubElement(rule, "ogc:Filter"), "ogc:PropertyIsEqualTo")
        ET.SubElement(equal, "ogc:PropertyName").text = "class_id"
        ET.SubElement(equal, "ogc:Literal").text = str(class_id)
    return rule


def _parameter(parent: ET.Element, kind: str, values: dict[str, str]) -> None:
    element = ET.SubElement(parent, kind)
    for name, value in values.items():
        ET.SubElement(element, "CssParameter", name=name).text = value


def _text(root: ET.Element) -> str:
    ET.indent(root)
    return ET.tostring(root, encoding="unicode")
