"""Lets a trained model see its training patches once more, to know what is unlike them, and how much others are."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rspipe.models.data import Patch
from rspipe.models.distances import Distances
from rspipe.models.errors import InputError
from rspipe.models.familiar import Yardstick, familiar_of
from rspipe.models.feed import collated
from rspipe.models.mlm import Familiar
from rspipe.models.normalise import Normaliser
from rspipe.models.predictor import reflected
from rspipe.models.pyramid import FINEST_STRIDE_PX
from rspipe.models.validity import valid_cells


def acquainted(model: nn.Module, patches: Sequence[Patch], normalise: Normaliser) -> Familiar:
    """Return what is familiar to a model: how profiles lie over all cells of its training patches.

    Display pictures are left out, their numbers are in no physical unit.

    Raises:
        InputError: no patch is left.
    """
    shown = [_profile(model, patch, normalise) for patch in patches if not patch.display]
    if not shown:
        raise InputError("no patch in physical units: nothing can become familiar")
    profiles, valid = zip(*shown, strict=True)
    return familiar_of(profiles, valid)


def distances_of(model: nn.Module, patches: Sequence[Patch], normalise: Normaliser, familiar: Familiar) -> Distances:
    """Measure how far patches lie from what is familiar to a model, again without display pictures."""
    yardstick = Yardstick.of(familiar, torch.device("cpu"))
    physical = [patch for patch in patches if not patch.display]
    total = Distances.of([], scenes=len({patch.scene for patch in physical}))
    for cells, valid in (_profile(model, patch, normalise) for patch in physical):
        total = total + Distances.of(yardstick(cells[None], valid[None])[0][valid], scenes=0)
    return total


@torch.inference_mode()
def _profile(model: nn.Module, patch: Patch, normalise: Normaliser) -> tuple[Tensor, Tensor]:
    """Return (K, h, w), on the CPU, and the cells (1, h, w) that count."""
    batch = collated([patch], normalise).to(next(model.parameters()).device)
    mask = reflected(batch.valid)
    profile: Tensor = model.eval()(reflected(batch.image), mask, explain=True).profile
    rows, columns = (side // FINEST_STRIDE_PX for side in patch.labels.shape)
    valid = valid_cells(mask, FINEST_STRIDE_PX)
    return profile[0, :, :rows, :columns].cpu(), valid[0, :, :rows, :columns].cpu()
