"""Puts output folders through whatever may happen to them: kills, full disks, flipped bits, other input and options.

    python -m bench.states --lives 100 --steps 12    # in tests/

Every life is another one; one that ends wrongly is told with all of its events. A life of twelve events takes some
fifteen seconds.
"""

import argparse
from collections import Counter

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from test_run_states import Life

SEEN: Counter[str] = Counter()
"""How runs ended, over all lives."""
LOOKS: Counter[str] = Counter()
"""How often a reader beside the runs found a file there."""


class Counted(Life):
    """Remembers how every run ended."""

    def told(self, code: int) -> int:
        """Note an exit code."""
        SEEN[f"exit {code}"] += 1
        return code

    def teardown(self) -> None:
        """Note how often what was published was seen, whole each time."""
        super().teardown()
        LOOKS.update(self.watch.looks)


def main() -> None:
    """Live, and print how the runs ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=100)
    parser.add_argument("--steps", type=int, default=12)
    given = parser.parse_args()
    run_state_machine_as_test(
        Counted,
        settings=settings(
            max_examples=given.lives,
            stateful_step_count=given.steps,
            derandomize=False,
            database=None,
            phases=(Phase.generate,),
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(", ".join(f"{count} runs ended with {code}" for code, count in sorted(SEEN.items())))
    print(", ".join(f"{name} was opened {count} times and whole" for name, count in sorted(LOOKS.items())))


if __name__ == "__main__":
    main()
