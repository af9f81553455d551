"""The constraint on a dictionary: compact over the images of a batch, apart between classes."""

import torch
from torch import Tensor

EPSILON = 1e-6


def scatter_ratio(table: Tensor, floor: float = 0.0) -> Tensor:
    """Scatter of each class's atoms over the batch, over the mean squared distance between class centres.

    S_intra / (max(S_inter, floor) + 1e-6). D2LS applies it without a floor to the generated table before any
    interaction; BiCoR-Seg, as its Fisher term with a floor of 1e-4, to the class vectors after every stage. A batch of
    one image or a single class has no ratio: the result is 0 and can still be differentiated.

    Args:
        table: (B, N, D) class vectors; computed in float32.
        floor: the smallest distance between classes that is divided by.
    """
    atoms = table.float()
    images, classes, _ = atoms.shape
    if images == 1 or classes == 1:
        return 0 * atoms.sum()
    centres = atoms.mean(dim=0)
    within = (atoms - centres).square().sum() / (images * classes)
    rows, columns = torch.triu_indices(classes, classes, offset=1, device=atoms.device)
    between = (centres[rows] - centres[columns]).square().sum(dim=-1).mean()
    return within / (between.clamp(min=floor) + EPSILON)
