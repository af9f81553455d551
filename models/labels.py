"""Label ids: the classes of a legend, and groups for pixels of which only a choice of classes is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from rspipe.catalogs.legends import NODATA_ID, Legend
from rspipe.models.errors import DataError

IGNORE_ID = NODATA_ID
"""The label of a pixel that is neither learned from nor scored."""


@dataclass(frozen=True, slots=True)
class LabelSet:
    """What labels may say: ids 0 .. N-1 are classes, N .. N+G-1 groups, `IGNORE_ID` says nothing.

    A group is a partial label: the pixel belongs to one of its classes, it is not known to which.
    """

    names: tuple[str, ...]
    """The classes in the order of their ids."""
    groups: Mapping[str, tuple[int, ...]]
    """Name of a group -> its class ids, in the order of the groups' own ids."""

    def __post_init__(self) -> None:
        if not self.names or self.count > IGNORE_ID:
            raise DataError(f"{self.count} classes and groups: there must be 1 to {IGNORE_ID}")
        for name, members in self.groups.items():
            if name in self.names:
                raise DataError(f"group {name!r} bears the name of a class; call it otherwise")
            if not members or len(set(members)) != len(members) or not set(members) <= set(range(len(self.names))):
                raise DataError(f"group {name!r}: its classes {members} must be different ids below {len(self.names)}")

    @classmethod
    def of(cls, legend: Legend, groups: Mapping[str, Sequence[str]]) -> Self:
        """Number the classes as the legend does, and the groups after them.

        Args:
            legend: names and ids of the classes.
            groups: name of a group -> names of its classes.

        Raises:
            DataError: a name is unknown, used twice, or a group is empty.
        """
        names = tuple(entry.name for entry in legend.classes)
        for group, members in groups.items():
            strange = [member for member in members if member not in names]
            if strange:
                found = ", ".join(strange)
                raise DataError(f"group {group!r} names {found}; the classes of {legend.name} are {', '.join(names)}")
        ids = {group: tuple(names.index(member) for member in members) for group, members in groups.items()}
        return cls(names, ids)

    @classmethod
    def plain(cls, classes: int) -> Self:
        """Return so many classes without groups, each named by its id."""
        return cls(tuple(str(number) for number in range(classes)), {})

    @property
    def classes(self) -> int:
        """N, how many classes there are."""
        return len(self.names)

    @property
    def count(self) -> int:
        """How many ids there are but `IGNORE_ID`: classes and groups."""
        return len(self.names) + len(self.groups)

    def id_of(self, name: str | None) -> int:
        """Return the id of a class or a group; of None it is `IGNORE_ID`.

        Raises:
            DataError: nothing bears that name.
        """
        if name is None:
            return IGNORE_ID
        known = (*self.names, *self.groups)
        if name not in known:
            raise DataError(f"{name!r} is neither a class nor a group; there are {', '.join(known)}")
        return known.index(name)

    @property
    def members(self) -> tuple[tuple[int, ...], ...]:
        """Per id, the classes that a pixel so labelled may belong to; of a class it is that class alone."""
        return (*((number,) for number in range(self.classes)), *self.groups.values())

    @property
    def table(self) -> Tensor:
        """(256, N) bool: row i tells which classes a pixel labelled i may belong to; none where i is no id."""
        allowed = torch.zeros((256, self.classes), dtype=torch.bool)
        for label, members in enumerate(self.members):
            allowed[label, list(members)] = True
        return allowed
