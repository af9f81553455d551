"""Parity: a model may compute in fewer bits, or as compiled code, where the classes are those that it gives else."""

from dataclasses import dataclass

from rspipe.models.specs import Engine, Precision

LEAST_SHARE = 0.995
"""Of the valid pixels must get the same class. Those that do not lie where two classes are as probable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """What a look at some windows found."""

    precision: Precision
    """Compared with float32."""
    engine: Engine = "eager"
    """Compared with the eager one."""
    pixels: int = 0
    """Valid ones that were looked at."""
    agreeing: int = 0
    unread: int = 0
    """Windows that could not be read; ingest will tell of their scenes."""
    trouble: str = ""
    """Why there was nothing to compare."""

    @property
    def share(self) -> float:
        """Of the pixels that agree; 0 where there was none to look at."""
        return self.agreeing / self.pixels if self.pixels else 0.0

    @property
    def holds(self) -> bool:
        """The arithmetic may be used."""
        return self.share >= LEAST_SHARE

    def __str__(self) -> str:
        """Tell what was found and what follows."""
        asked = f"infer.precision: {self.precision}, infer.engine: {self.engine}"
        if self.trouble:
            return f"{asked}: {self.trouble}; float32 and eager are used"
        used = "these are used" if self.holds else "float32 and eager are used"
        unread = f"; {self.unread} windows could not be read" if self.unread else ""
        return (
            f"{asked} give {self.share:.2%} of {self.pixels} pixels in some windows the class that float32 and eager "
            f"give them; {used} (at least {LEAST_SHARE:.1%} must agree){unread}"
        )
