import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from picomodel import PICO_CARD, write_pico
from test_models_ktda import ktda_spec
from torch import nn

from rspipe.models import export as exporting
from rspipe.models.build import build
from rspipe.models.errors import WeightsError
from rspipe.models.export import Exported, ExportError, export, random_windows
from rspipe.models.predictor import Predictor
from rspipe.models.specs import ModelSpec
from rspipe.models.standalone import Standalone

SMALL = replace(PICO_CARD, window_px=64, overlap_px=32)


def written(folder: Path, spec: ModelSpec) -> tuple[Path, Exported]:
    card = write_pico(folder, replace(SMALL, spec=spec))
    return card, export(card, folder / "out")


@pytest.fixture(scope="module")
def pico(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    return written(tmp_path_factory.mktemp("export"), SMALL.spec)


def agrees(card: Path, exported: Exported, batch: int) -> bool:
    graph = torch.export.load(exported.program).module()
    numbers, present = random_windows(SMALL, batch, SMALL.window_px)
    found = graph(torch.where(present, numbers, float("nan")), present)
    return torch.allclose(found, Predictor.load(card).probabilities(numbers, present), atol=1e-5)


def test_the_file_says_what_the_model_says_for_any_batch(pico: tuple[Path, Exported]) -> None:
    assert all(agrees(*pico, batch=batch) for batch in (1, 5))


def test_parity_is_told(pico: tuple[Path, Exported]) -> None:
    _, exported = pico
    assert 0 <= exported.largest_difference <= 1e-5
    assert str(exported).startswith(f"{exported.program}: max |dp| = ")
    assert exported.windows == 6


def test_the_card_lies_beside_it(pico: tuple[Path, Exported]) -> None:
    card, exported = pico
    assert exported.card.read_bytes() == card.read_bytes()
    assert sorted(path.name for path in exported.program.parent.iterdir()) == [
        "pico-clouds-1.2.3.pt2",
        "pico-clouds.json",
    ]


def test_nothing_in_the_file_is_pickled(pico: tuple[Path, Exported]) -> None:
    _, exported = pico
    with zipfile.ZipFile(exported.program) as archive:
        names = archive.namelist()
        parts = {name: archive.read(name) for name in names if not name.endswith(".json")}
    raw = {name: part for name, part in parts.items() if "/weights/" not in name}
    assert all(len(part) < 64 for part in raw.values()), sorted(raw)
    # a pickle of torch is a zip archive, an older one begins with a protocol number
    assert not any(part.startswith((b"PK", b"\x80\x02", b"\x80\x04")) for part in parts.values())


@pytest.mark.slow
def test_ktda_is_exported_without_its_auxiliary_head(tmp_path: Path) -> None:
    card, exported = written(tmp_path, ktda_spec())
    assert agrees(card, exported, batch=3)
    program = torch.export.load(exported.program)
    assert not any("aux" in name for name in program.state_dict)


class Drifting(nn.Module):
    """Answers a little otherwise than the model that it is taken for."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, numbers: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        probabilities: torch.Tensor = self.graph(numbers, present)
        return probabilities + 2e-5


def test_a_graph_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = write_pico(tmp_path, SMALL)
    model = Standalone(build(SMALL.spec, seed=1), SMALL)
    program = type("Program", (), {"module": lambda _: Drifting(model)})()
    monkeypatch.setattr(exporting, "traced", lambda *_: program)
    with pytest.raises(ExportError, match=r"differ by up to 2\.0e-05 .* nothing was written"):
        export(card, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_are_checked_first(tmp_path: Path) -> None:
    card = write_pico(tmp_path, SMALL)
    (tmp_path / SMALL.weights_name).write_bytes(b"cos\nsystem\n")
    with pytest.raises(WeightsError):
        export(card, tmp_path / "out")
