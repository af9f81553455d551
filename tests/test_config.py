"""Settings: what is accepted, how a mistake is told, what wins, and what can change the output's bytes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rspipe.pipeline.config import Effect, WorkflowConfig, effects
from rspipe.pipeline.errors import ConfigError
from rspipe.pipeline.workflow import Overrides, load_workflow

SHIPPED = Path(__file__).parents[1] / "workflows" / "cloud_thickness.yaml"
TEXT = "name: clouds\nscenes:\n  paths: [data/*.tif]\nmodels: [cloud-thickness]\n"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(text: str) -> Path:
        path = tmp_path / "flows" / "w.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def test_the_shipped_workflow_loads() -> None:
    config = load_workflow(SHIPPED)
    assert config.scenes.simulated is not None
    assert (config.scenes.simulated.height_px, config.scenes.simulated.width_px) == (2048, 2048)
    assert config.output_folder == Path.cwd() / "out" / "cloud_thickness"
    assert config.vectorize.classes == ("thin cloud", "thick cloud", "cloud shadow")


@pytest.mark.parametrize(
    ("addition", "line", "message"),
    [
        ("infer: {window_pxx: 64}", 5, "infer.window_pxx: unknown key; did you mean 'window_px'?"),
        ("infre: {}", 5, "infre: unknown key; did you mean 'infer'?"),
        ("infer: {window_px: true}", 5, "infer.window_px: found True; should be a valid integer"),
        ("infer: {window_px: '64'}", 5, "infer.window_px: found '64'; should be a valid integer"),
        ("infer: {window_px: 64.0}", 5, "infer.window_px: found 64.0; should be a valid integer"),
        ("infer: {window_px: 100}", 5, "infer.window_px: found 100; should be a multiple of 32"),
        ("infer: {window_px: -32}", 5, "infer.window_px: found -32; should be greater than or equal to 32"),
        ("infer: {overlap_px: 33}", 5, "infer.overlap_px: found 33; should be a multiple of 32"),
        ("infer:\n  window_px: 64\n  overlap_px: 64", 7, "infer.overlap_px: found 64 for windows of 64; at most half"),
        ("infer: {rasters: [margins]}", 5, "infer.rasters[0]: found 'margins'; should be 'probabilities', "),
        ("infer: {rasters: [margin, margin]}", 5, "infer.rasters: margin given twice"),
        ("infer: 7", 5, "infer: found 7; should be an object"),
        ("compute: {cluster: {kind: slurm}}", 5, "compute.cluster.kind: found 'slurm'; should be 'local' or 'address'"),
        ("compute:\n  cluster: {kind: address, ca: a.pem, key: k.pem}", 6,
         "compute.cluster.kind: address without address, cert; Dask runs whatever code a peer sends"),
        ("compute: {cluster: {kind: address, address: 'tcp://127.0.0.1:8786', ca: a, cert: c, key: k}}", 5,
         "compute.cluster.address: found 'tcp://127.0.0.1:8786'; The scheduler's `tls://host:port`. Never `tcp://`"),
        ("compute: {cluster: {kind: address, address: 'tls://host', ca: a, cert: c, key: k}}", 5,
         "compute.cluster.address: found 'tls://host'; The scheduler's `tls://host:port`."),
        ("compute: {cluster: {address: 'tls://host:8786'}}", 5, "compute.cluster.address: goes with kind: address"),
        ("compute: {workers: 2, cluster: {kind: address, address: 'tls://h:1', ca: a, cert: c, key: k}}", 5,
         "compute.workers: found 2, but a cluster of kind: address has the workers that it has"),
        ("compute: {memory_per_worker: 4GB}", 5, "compute.memory_per_worker: found '4GB'; "),
        ("grid: {resolution_m: 0}", 5, "grid.resolution_m: found 0; should be greater than 0"),
        ("vectorize: {minimum_area_m2: .inf}", 5, "vectorize.minimum_area_m2: found '.inf'; should be a valid number"),
        ("vectorize: {classes: [a, b, a]}", 5, "vectorize.classes: a given twice"),
        ("output: {crs: UTM zone 18}", 5, "output.crs: found 'UTM zone 18'; Authority and code"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_place_what_was_found_and_the_rule(
    write: Write, addition: str, line: int, message: str
) -> None:
    path = write(f"{TEXT}{addition}\n")
    with pytest.raises(ConfigError) as caught:
        load_workflow(path)
    (told,) = str(caught.value).splitlines()
    assert told.startswith(f"{path}:{line}:")
    assert told.partition(": ")[2].startswith(message)


def test_every_mistake_is_told_at_once(write: Write) -> None:
    path = write("name: Clouds!\nscenes: {}\nmodels: []\nextra: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_workflow(path)
    told = [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]
    assert [line.partition(":")[0] for line in told] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("scenes", ["{}", "{simulated: {}, paths: [a]}", "{simulated: {}, sensor: landsat8}"])
def test_scenes_are_either_simulated_or_files(write: Write, scenes: str) -> None:
    with pytest.raises(ConfigError, match="scenes"):
        load_workflow(write(f"name: n\nscenes: {scenes}\nmodels: [m]\n"))


def test_an_unknown_key_of_the_simulation_is_refused(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"scenes\.simulated\.clouds\.hase: unknown key; did you mean 'haze'"):
        load_workflow(write("name: n\nscenes: {simulated: {clouds: {hase: 0.1}}}\nmodels: [m]\n"))


def test_a_simulation_out_of_range_is_a_config_error(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"w\.yaml:2:.*seed"):
        load_workflow(write("name: n\nscenes: {simulated: {seed: -1}}\nmodels: [m]\n"))


@pytest.mark.parametrize("name", ["scenes", "layer_styles", "gpkg_contents", "a/b", "..", "A", "", "a b"])
def test_a_name_that_a_geopackage_or_a_path_cannot_carry_is_refused(write: Write, name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        load_workflow(write(f"name: '{name}'\nscenes: {{simulated: {{}}}}\nmodels: [m]\n"))


def test_paths_of_the_file_start_at_its_folder_and_those_of_the_command_line_at_the_current_one(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(TEXT.replace("cloud-thickness", "cards/m.json") + "output: {folder: o}\n")
    monkeypatch.chdir(tmp_path)
    config = load_workflow(path)
    assert config.scenes.paths == (path.parent / "data/*.tif",)
    assert config.output_folder == path.parent / "o"
    assert config.models == (str(path.parent / "cards/m.json"),)
    overrides = Overrides(scenes=(Path("x"), Path("/y")), output=Path("p"), settings=("models=[c.json]",))
    config = load_workflow(path, overrides)
    assert config.scenes.paths == (tmp_path / "x", Path("/y"))
    assert config.output_folder == tmp_path / "p"
    assert config.models == (str(tmp_path / "c.json"),)


def test_the_files_for_tls_are_found_like_other_paths(write: Write) -> None:
    path = write(TEXT + "compute: {cluster: {kind: address, address: 'tls://h:1', ca: tls/ca.pem, cert: /c, key: k}}\n")
    found = load_workflow(path).compute.cluster
    assert (found.ca, found.cert, found.key) == (path.parent / "tls/ca.pem", Path("/c"), path.parent / "k")


def test_scenes_of_the_command_line_replace_the_whole_section(write: Write) -> None:
    path = write("name: n\nscenes: {simulated: {seed: 3}}\nmodels: [m]\n")
    config = load_workflow(path, Overrides(scenes=(Path("a"),), sensor="landsat8", workers=2))
    assert config.scenes.simulated is None
    assert (config.scenes.sensor, config.compute.workers) == ("landsat8", 2)


def test_set_reads_yaml_and_the_last_one_wins(write: Write) -> None:
    path = write(TEXT + "infer: {window_px: 64, overlap_px: 32}\n")
    settings = ("infer.window_px=128", "infer.window_px=256", "vectorize.classes=[thick cloud]", "output.crs=EPSG:3857")
    config = load_workflow(path, Overrides(settings=settings))
    assert (config.infer.window_px, config.infer.overlap_px) == (256, 32)
    assert config.vectorize.classes == ("thick cloud",)
    assert config.output.crs == "EPSG:3857"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("infer.window_px", "--set infer.window_px: must read a.b=value"),
        ("=1", "--set =1: must read"),
        ("infer..x=1", "must read"),
        ("infer.window_px=1", "command line: infer.window_px: found 1;"),
        ("infer.window=64", "command line: infer.window: unknown key; did you mean 'window_px'"),
        ("infer.window_px=[", "--set infer.window_px:1:"),
    ],
)
def test_a_mistake_on_the_command_line_is_told_as_such(write: Write, setting: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_workflow(write(TEXT), Overrides(settings=(setting,)))
    assert message in str(caught.value)


def test_resolved_settings_load_to_the_same_configuration(write: Write, tmp_path: Path) -> None:
    config = load_workflow(write(TEXT + "compute: {memory_per_worker: 1.5 GiB}\n"))
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps(config.resolved()), encoding="utf-8")
    assert load_workflow(saved).resolved() == config.resolved()
    assert config.compute.memory_per_worker_bytes == 3 * 2**29


def test_every_setting_says_whether_it_can_change_the_bytes() -> None:
    marked = dict(effects(WorkflowConfig))
    without_effect = {path for path, effect in marked.items() if effect is Effect.NONE}
    witnessed = {path for path, effect in marked.items() if effect is Effect.WITNESSED}
    assert without_effect == {
        "infer.band_rows", "output.folder", "compute.workers", "compute.memory_per_worker", "compute.cluster.kind",
        "compute.cluster.address", "compute.cluster.ca", "compute.cluster.cert", "compute.cluster.key",
    }  # fmt: skip
    assert witnessed == {"scenes.paths", "models"}
    assert set(load_workflow(SHIPPED).identity()) == set(marked) - without_effect - witnessed


def test_identity_ignores_where_and_by_how_many_and_sees_the_rest(write: Write) -> None:
    path = write(TEXT)
    plain = load_workflow(path).identity()
    same = Overrides(scenes=(Path("moved"),), output=Path("o"), workers=7, settings=("infer.band_rows=3",))
    assert load_workflow(path, same).identity() == plain
    for setting in ("infer.window_px=64", "vectorize.minimum_area_m2=1", "compute.threads=2", "name=other"):
        assert load_workflow(path, Overrides(settings=(setting,))).identity() != plain


def test_a_configuration_cannot_be_changed_after_loading() -> None:
    config = load_workflow(SHIPPED)
    with pytest.raises(ValueError, match="frozen"):
        config.infer.window_px = 64  # type: ignore[misc]


def test_the_schema_describes_every_setting() -> None:
    text = json.dumps(WorkflowConfig.model_json_schema())
    for path, _effect in effects(WorkflowConfig):
        assert f'"{path.rpartition(".")[2]}"' in text
    assert '"additionalProperties": false' in text
