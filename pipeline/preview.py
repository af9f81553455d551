"""Preview: what a run would do, or why it could not, told without doing it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rspipe.pipeline import budget
from rspipe.pipeline.budget import check_fits
from rspipe.pipeline.cluster import AddressSpec, open_cluster
from rspipe.pipeline.config import WorkflowConfig
from rspipe.pipeline.graph import SceneGraph
from rspipe.pipeline.ledger import InputDigests, Ledger
from rspipe.pipeline.plan import RunPlan, as_begun, compiling_told, decide_arithmetic, plan_run
from rspipe.pipeline.probe import Probe, probe
from rspipe.pipeline.progress import Progress, printable
from rspipe.pipeline.rollcall import roll_call
from rspipe.pipeline.run import graphs_of
from rspipe.pipeline.task import STAGES

_STATES = ("done", "new", "redo")
_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A plan with the state of each of its tasks."""

    plan: RunPlan
    probe: Probe
    workers: int
    states: Mapping[str, Counter[tuple[str, str]]]
    """Scene slug -> how many tasks of a (stage, state) there are."""

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "workflow": self.plan.config.name,
            "output": str(self.plan.layout.root),
            "model": {"id": self.plan.model.card.model_id, "version": self.plan.model.card.version},
            "fingerprint": self.plan.fingerprint.model_dump(),
            "agreement": self.plan.parity and self.plan.parity.share,
            "scenes": [self._scene(slug) for slug in self.states],
            "refused": [{"id": scene.id, "reason": scene.reason} for scene in self.plan.refused],
            "workers": self.workers,
            "windows": self.windows,
            "window_flops": self.probe.window_flops,
            "window_s": self.probe.window_s,
            "infer_s": self.infer_s,
            "worker_bytes": budget.worker_bytes(self.plan, self.probe.process_bytes),
            "floats_bytes_per_worker": budget.floats_bytes(self.plan),
        }

    @property
    def windows(self) -> int:
        """Of all scenes, done or not."""
        return sum(planned.cost["windows"] for planned in self.plan.scenes)

    @property
    def infer_s(self) -> float:
        """How long the model alone takes for all windows, if workers do not hinder one another."""
        return self.windows * self.probe.window_s / self.workers

    def summary(self) -> str:
        """Return it as text for people."""
        card, config = self.plan.model.card, self.plan.config
        model = f"model {card.model_id} {card.version} on {self.plan.fingerprint.device}"
        lines = [f"{config.name}: scenes: {len(self.plan.scenes)}, {model}, into {self.plan.layout.root}"]
        for slug in self.states:
            lines += self._scene_lines(slug)
        lines += [printable(f"refused: {scene.id}: {scene.reason}") for scene in self.plan.refused]
        memory = budget.worker_bytes(self.plan, self.probe.process_bytes) / _MIB
        lines.append(
            f"model: {self.windows} windows of {self.probe.window_flops / 1e9:.1f} GFLOP, {self.probe.window_s:.3f} s "
            f"each in a probe: some {self.infer_s:.0f} s on {self.workers} workers"
        )
        lines += [] if self.plan.parity is None else [str(self.plan.parity)]
        floats = budget.floats_bytes(self.plan) / _MIB
        lines.append(
            f"memory of an inferring worker: some {memory:.0f} MiB, of which {floats:.0f} MiB are blended windows"
        )
        return "\n".join(lines)

    def _scene(self, slug: str) -> dict[str, Any]:
        planned = next(planned for planned in self.plan.scenes if planned.scene.slug == slug)
        grid = planned.windows
        stages = {
            stage: {state: self.states[slug][stage, state] for state in _STATES if self.states[slug][stage, state]}
            for stage in STAGES
        }
        return {
            "id": planned.scene.id,
            "height_px": grid.height_px,
            "width_px": grid.width_px,
            "window_px": grid.window_px,
            "overlap_px": grid.overlap_px,
            "missing_optional_bands": list(planned.match.missing),
            "tasks": stages,
            **planned.cost,
            "disk_bytes": budget.disk_bytes(self.plan, planned),
        }

    def _scene_lines(self, slug: str) -> list[str]:
        facts = self._scene(slug)
        name, missing = printable(facts["id"]), ", ".join(facts["missing_optional_bands"])
        tasks = "; ".join(
            f"{stage} " + " ".join(f"{count} {state}" for state, count in states.items())
            for stage, states in facts["tasks"].items()
            if states
        )
        return [
            (
                f"scene {name}: {facts['height_px']} x {facts['width_px']} px, {facts['windows']} windows of "
                f"{facts['window_px']} px overlapping by {facts['overlap_px']}, at most "
                f"{facts['disk_bytes'] / _MIB:.0f} MiB of working state{f'; without {missing}' if missing else ''}"
            ),
            f"  {tasks}",
        ]


def describe(config: WorkflowConfig, progress: Progress) -> Preview:
    """Plan a run and look up what of it is done already.

    Args:
        config: the workflow.
        progress: is told what may take a while.

    Raises:
        PipelineError: as the run itself would end.
    """
    compiling_told(config, progress)
    plan = as_begun(decide_arithmetic(plan_run(config)))
    ledger = Ledger(plan.layout.root, plan.layout.ledger)
    plan, graphs = graphs_of(plan, InputDigests(plan.layout.inputs))
    seen = probe(plan)
    check_fits(plan, seen.process_bytes)
    states = {graph.planned.scene.slug: _count(graph, ledger) for graph in graphs}
    return Preview(plan=plan, probe=seen, workers=_workers(plan), states=states)


def validate(config: WorkflowConfig) -> list[str]:
    """Return why scenes cannot be used, one line per scene; an empty list means that all can.

    Raises:
        PipelineError: the workflow itself or its model cannot be used.
    """
    return [printable(f"{scene.id}: {scene.reason}") for scene in plan_run(config).refused]


def _count(graph: SceneGraph, ledger: Ledger) -> Counter[tuple[str, str]]:
    return Counter((task.stage, ledger.state(task.key)[0]) for task in graph.tasks)


def _workers(plan: RunPlan) -> int:
    """Count the workers of a run; those that others have started are asked whether they can be used."""
    spec = plan.cluster
    if not isinstance(spec, AddressSpec):
        return spec.workers
    with open_cluster(spec) as client, roll_call(client, plan.layout.work, spec.threads):
        return len(client.nthreads())  # type: ignore[no-untyped-call] # distributed is not annotated here
