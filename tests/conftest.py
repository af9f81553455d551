"""What several test modules share."""

import signal
from pathlib import Path

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A suite started in the background inherits that, and so would every run that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("rspipe", deadline=None, derandomize=True)
settings.load_profile("rspipe")
"""No deadline: compiled code is slow on its first call. The same examples every time: a red run can be repeated."""


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scenes beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is absent")
    return folder
