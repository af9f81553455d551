"""Classes that people left out of some labels: what they gave as something else may be either."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import torch
from pydantic import Field, model_validator

from rspipe.models.data import Patch
from rspipe.models.errors import DataError
from rspipe.models.labels import IGNORE_ID, LabelSet
from rspipe.models.specs import StrictModel

SEEN_SHARE = 0.01
"""Of a patch's labelled pixels must be of the company that gives a class away."""


class Unlabelled(StrictModel):
    """A class that comes with others: a patch that has those and nothing of it was labelled without it."""

    name: str
    """The class that may have been left out."""
    beside: tuple[str, ...] = Field(min_length=1)
    """Classes that never come alone."""
    among: str
    """What its pixels are labelled as."""
    group: str
    """What they are learned as: the group of these two."""

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.name == self.among or {self.name, self.among} & set(self.beside):
            raise ValueError(f"name, among and beside must be different classes, found {self.name} and {self.among}")
        return self

    def check(self, labels: LabelSet) -> None:
        """Check the names.

        Raises:
            DataError: a name is unknown, or the group is another one.
        """
        for name in (self.name, self.among, *self.beside):
            if name not in labels.names:
                raise DataError(f"unlabelled: {name!r} is no class; there are {', '.join(labels.names)}")
        members = {labels.names[member] for member in labels.groups.get(self.group, ())}
        if members != {self.name, self.among}:
            found = ", ".join(sorted(members)) or "nothing"
            raise DataError(
                f"unlabelled: group {self.group!r} must hold {self.name} and {self.among}, it holds {found}"
            )

    def applied(self, patch: Patch, labels: LabelSet) -> Patch:
        """Return a patch as it is to be learned from."""
        found = torch.bincount(patch.labels.flatten(), minlength=IGNORE_ID + 1)
        company = sum(int(found[labels.id_of(name)]) for name in self.beside)
        is_told = int(found[labels.id_of(self.name)]) > 0
        if is_told or company < SEEN_SHARE * int(found[:IGNORE_ID].sum()):
            return patch
        either = torch.tensor(labels.id_of(self.group), dtype=patch.labels.dtype)
        return replace(patch, labels=torch.where(patch.labels == labels.id_of(self.among), either, patch.labels))


def told(patch: Patch, rules: Sequence[Unlabelled], labels: LabelSet) -> Patch:
    """Return a patch that claims no more than whoever labelled it can have looked for."""
    for rule in rules:
        patch = rule.applied(patch, labels)
    return patch
