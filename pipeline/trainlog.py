"""The log of a training as JSON lines: one for every tenth step, one per score; each step stands there once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rspipe.pipeline.atomic import write_text


@dataclass(frozen=True, slots=True)
class TrainLog:
    """The file `log.jsonl` of a folder."""

    folder: Path
    every_steps: int = 10

    @property
    def path(self) -> Path:
        """The file itself."""
        return self.folder / "log.jsonl"

    def step(self, run: str, facts: dict[str, float], elapsed_s: float) -> None:
        """Append what a step found, if it is one of those that are logged."""
        if facts["step"] % self.every_steps == 0:
            self.append({"run": run, "elapsed_s": round(elapsed_s, 1), **facts})

    def append(self, line: Mapping[str, object]) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def cut(self, run: str, step: int) -> None:
        """Take out what a run wrote after a step, its scores, and a last line that was not finished."""
        if self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _stays(line, run, step)]
            write_text(self.path, "".join(f"{line}\n" for line in kept))


def _stays(line: str, run: str, step: int) -> bool:
    try:
        facts = json.loads(line)
    except ValueError:
        return False
    return bool(facts["run"] != run or facts.get("step", step + 1) <= step)
