"""An output folder through whatever may happen to it: in the end a run gives the bytes of one that met with nothing."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyogrio
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from killing import DIED, FULL, Death, Fate, ended
from tinyrun import Place, TinyScene, lay_place, tree
from watching import Watch

from rspipe.pipeline.layout import Layout
from rspipe.pipeline.lock import locked

pytestmark = pytest.mark.slow
SCENES = (TinyScene(id="a", height_px=100, width_px=70), TinyScene(id="b", seed=3, height_px=70, width_px=60))
OPTIONS = ("vectorize.minimum_area_m2=0", "vectorize.tolerance_m=60", "infer.overlap_px=0", "infer.rasters=[entropy]")
DEATHS = st.builds(Death, st.just("commit"), st.integers(0, 9), st.booleans()) | st.builds(
    Death, st.just("replace"), st.integers(0, 100), st.booleans()
)
MOST_BYTES = st.sampled_from([0, 200, 2_000, 20_000])
_FRESH: dict[tuple[frozenset[str], str, int], dict[str, str]] = {}
"""What runs that met with nothing have published: input -> path -> digest."""


class Life(RuleBasedStateMachine):
    """An output folder, and what the run's input is at the moment."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="rspipe-life-"))
        self.place = lay_place(self.folder / "life", SCENES[0])
        self.scenes, self.option, self.weights = {SCENES[0].id}, "", 1
        self.watch = Watch(self.place.out, "tiny")

    def told(self, code: int) -> int:
        """Return an exit code that a run ended with."""
        return code

    def ended(self, fate: Fate | None = None) -> int:
        return self.told(ended(self.place, *self.options, fate=fate))

    def teardown(self) -> None:
        self.watch.end()
        shutil.rmtree(self.folder)
        assert self.watch.broken == []

    @property
    def options(self) -> tuple[str, ...]:
        return (self.option,) if self.option else ()

    @rule()
    def run(self) -> None:
        assert self.ended() == 0
        assert tree(self.place.out) == self._fresh()
        assert not [path for path in self.place.out.rglob("*") if "partial" in path.name]

    @rule(option=st.sampled_from(OPTIONS), death=DEATHS)
    def die(self, option: str, death: Death) -> None:
        self.option = option  # so that there is something to do
        assert self.ended(Fate(death=death)) in {0, DIED}

    @rule(option=st.sampled_from(OPTIONS), death=DEATHS, again=DEATHS)
    def die_twice(self, option: str, death: Death, again: Death) -> None:
        self.die(option, death)
        self.die(option, again)

    @rule(most_bytes=MOST_BYTES)
    def run_on_a_full_disk(self, most_bytes: int) -> None:
        assert self.ended(Fate(largest_bytes=most_bytes)) in {0, FULL}

    @rule()
    def run_beside_another(self) -> None:
        before = tree(self.place.out)
        with locked(Layout(self.place.out).lock):
            assert self.ended() == 4
        assert tree(self.place.out) == before

    @rule(which=st.integers(0, 10_000), bit=st.integers(0, 10_000_000))
    def flip_a_bit(self, which: int, bit: int) -> None:
        for path in self._one_of_the_files(which):
            content = bytearray(path.read_bytes())
            if content:
                content[bit // 8 % len(content)] ^= 1 << bit % 8
                path.write_bytes(content)

    @rule(which=st.integers(0, 10_000))
    def lose_a_file(self, which: int) -> None:
        for path in self._one_of_the_files(which):
            path.unlink()

    @rule(scene=st.sampled_from(SCENES))
    def add_or_remove_a_scene(self, scene: TinyScene) -> None:
        folder = self.place.root / "scenes" / scene.id
        if scene.id not in self.scenes:
            scene.write(folder)
        elif len(self.scenes) > 1:
            shutil.rmtree(folder)
        else:
            return
        self.scenes ^= {scene.id}

    @rule(option=st.sampled_from(("", *OPTIONS)))
    def choose(self, option: str) -> None:
        self.option = option

    @rule(seed=st.sampled_from([1, 2]))
    def train_anew(self, seed: int) -> None:
        self.place.write_model(seed=seed)
        self.weights = seed

    @invariant()
    def what_is_published_is_whole(self) -> None:
        out = self.place.out
        if (out / "manifest.json").exists():
            json.loads((out / "manifest.json").read_text())
        if (out / "tiny.gpkg").exists():
            assert {"tiny", "scenes"} <= {name for name, _ in pyogrio.list_layers(out / "tiny.gpkg")}

    def _one_of_the_files(self, which: int) -> Iterator[Path]:
        """Of the working state; what is published is the user's."""
        files = sorted(path for path in Layout(self.place.out).work.rglob("*") if path.is_file())
        if files:
            yield files[which % len(files)]

    def _fresh(self) -> dict[str, str]:
        key = frozenset(self.scenes), self.option, self.weights
        if key not in _FRESH:
            place = Place(self.folder / "fresh")
            shutil.copytree(self.place.root, place.root, ignore=shutil.ignore_patterns("out"))
            assert ended(place, *self.options) == 0
            _FRESH[key] = tree(place.out)
            shutil.rmtree(place.root)
        return _FRESH[key]


def test_whatever_happens_a_run_gives_the_bytes_of_one_that_met_with_nothing() -> None:
    run_state_machine_as_test(
        Life, settings=settings(max_examples=4, stateful_step_count=10, suppress_health_check=list(HealthCheck))
    )


@pytest.mark.parametrize("death", [Death("commit", 0, happened=True), Death("commit", 1, happened=False)])
def test_a_run_that_dies_at_every_commit_loses_one_task_each_time_and_no_byte(tmp_path: Path, death: Death) -> None:
    place, undisturbed = (lay_place(tmp_path / name, SCENES[0]) for name in ("killed", "undisturbed"))
    assert ended(undisturbed) == 0
    every = len(list(undisturbed.out.glob(".rspipe/ledger/*/*.json")))
    done = 0
    while (code := ended(place, fate=Fate(death=death))) == DIED:
        done += 1
        assert len(list(place.out.glob(".rspipe/ledger/*/*.json"))) == done
        assert not (place.out / "manifest.json").exists()
    assert code == 0
    assert done == every - death.number
    assert tree(place.out) == tree(undisturbed.out)
