"""A reader that never rests: it opens what is published again and again, as people do while a run replaces it."""

import json
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

REST_S = 0.002


class Watch:
    """Looks at an output folder in a thread of its own, from the beginning to the end of a block."""

    def __init__(self, out: Path, workflow: str) -> None:
        self.looks: Counter[str] = Counter()
        """How often a file was there and whole."""
        self.broken: list[str] = []
        self._files = {out / "manifest.json": _read_json, out / f"{workflow}.gpkg": _read_package}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(REST_S):
            for path, read in self._files.items():
                try:
                    read(path)
                    self.looks[path.name] += 1
                except FileNotFoundError:
                    continue
                except (OSError, ValueError, sqlite3.Error) as error:
                    self.broken.append(f"{path.name}: {type(error).__name__}: {error}")


def _read_json(path: Path) -> None:
    json.loads(path.read_bytes())


def _read_package(path: Path) -> None:
    """Read the file that has this name now, whatever has it a moment later."""
    with path.open("rb") as file:
        place = f"file:/proc/self/fd/{file.fileno()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(place, uri=True)) as database:
            layers = {name for (name,) in database.execute("SELECT table_name FROM gpkg_contents")}
            (verdict,) = database.execute("PRAGMA quick_check").fetchone()
    if verdict != "ok" or "scenes" not in layers:
        raise ValueError(f"{verdict}, layers {sorted(layers)}")
