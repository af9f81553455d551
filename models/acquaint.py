"""Lets a trained model see its training patches once more, to know later what is unlike them."""

from collections.abc import Sequence

import torch
from torch import nn

from rspipe.models.data import Patch
from rspipe.models.errors import InputError
from rspipe.models.familiar import familiar_of
from rspipe.models.feed import collated
from rspipe.models.mlm import Familiar
from rspipe.models.normalise import Normaliser
from rspipe.models.predictor import reflected
from rspipe.models.pyramid import FINEST_STRIDE_PX
from rspipe.models.validity import valid_cells


@torch.inference_mode()
def acquainted(model: nn.Module, patches: Sequence[Patch], normalise: Normaliser) -> Familiar:
    """Return what is familiar to a model: how profiles lie over all cells of its training patches.

    Display pictures are left out, their numbers are in no physical unit.

    Raises:
        InputError: no patch is left.
    """
    profiles, valid = [], []
    model.eval()
    device = next(model.parameters()).device
    for patch in patches:
        if patch.display:
            continue
        batch = collated([patch], normalise).to(device)
        mask = reflected(batch.valid)
        shown = model(reflected(batch.image), mask, explain=True).profile
        rows, columns = (side // FINEST_STRIDE_PX for side in patch.labels.shape)
        profiles.append(shown[0, :, :rows, :columns].cpu())
        valid.append(valid_cells(mask, FINEST_STRIDE_PX)[0, :, :rows, :columns].cpu())
    if not profiles:
        raise InputError("no patch in physical units: nothing can become familiar")
    return familiar_of(profiles, valid)
