"""Formats that a run's polygons can be written in beside the GeoPackage."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

LayerFormat = Literal["flatgeobuf", "geoparquet"]
SUFFIXES: Mapping[LayerFormat, str] = MappingProxyType({"flatgeobuf": ".fgb", "geoparquet": ".parquet"})
