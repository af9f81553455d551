"""BiCoR-Seg written the long way: loops over images, classes and pixels, a map (N, C, h, w) per class as in its paper.

Parameters are read by name out of a state dict; cells that are not valid are cut out, not masked.
"""

import math

import oracle_d2ls as plain
import torch
from oracle_d2ls import State, below, linear, norm
from torch import Tensor

from rspipe.models.specs import SynergySpec


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def heatmap(state: State, atoms: Tensor, x: Tensor) -> Tensor:
    """One image: atoms (N, D), map (D, h, w) -> logits (N, h, w)."""
    drawn = linear(state, "draw", norm(state, "norm_atoms", atoms))
    heat = torch.empty(len(atoms), *x.shape[1:], dtype=x.dtype)
    for n, atom in enumerate(drawn):
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                heat[n, i, j] = atom @ norm(state, "norm_pixels", x[:, i, j]) / math.sqrt(len(x))
    return heat


def pooled(spec: SynergySpec, strengths: list[float]) -> dict[int, float]:
    """Index of every cell that is gathered from -> its weight."""
    kept = min(len(strengths), max(spec.least_px, round(spec.ratio * len(strengths))))
    order = sorted(range(len(strengths)), key=lambda index: -strengths[index])[:kept]
    total = sum(strengths[index] for index in order)
    if total <= 1e-6:
        order, total = list(range(len(strengths))), sum(strengths)
    return {index: strengths[index] / total for index in order}


def gather(state: State, spec: SynergySpec, heat: Tensor, x: Tensor, valid: Tensor) -> Tensor:
    """One image: what every class collects, (N, D)."""
    cells = [(i, j) for i in range(x.shape[1]) for j in range(x.shape[2]) if valid[i, j]]
    rows = []
    for hot in heat:
        weights = pooled(spec, [sigmoid(float(hot[i, j])) for i, j in cells])
        seen = [linear(state, "value", norm(state, "norm_pixels", x[:, i, j])) for i, j in cells]
        rows.append(torch.stack([weight * seen[index] for index, weight in weights.items()]).sum(0))
    return torch.stack(rows)


def update(state: State, spec: SynergySpec, atoms: Tensor, gathered: Tensor) -> Tensor:
    both = torch.cat([norm(state, "norm_atoms", atoms), gathered], dim=1)
    if spec.gate == "linear":
        share, candidate = linear(state, "gate.share", both), gathered
    else:
        share = linear(state, "gate.share.2", plain.gelu(linear(state, "gate.share.0", both)))
        candidate = linear(state, "gate.candidate.2", plain.gelu(linear(state, "gate.candidate.0", gathered)))
    share = 1 / (1 + (-share).exp())
    return share * candidate + (1 - share) * atoms


def modulate(state: State, spec: SynergySpec, heat: Tensor, atoms: Tensor, x: Tensor) -> Tensor:
    gamma, beta = 1 + linear(state, "gamma", atoms).tanh(), linear(state, "beta", atoms)
    per_class = gamma[:, :, None, None] * x[None] + beta[:, :, None, None]
    share = heat.exp() / heat.exp().sum(0)
    new = (share[:, None] * per_class).sum(0)
    return 0.5 * x + 0.5 * new if spec.blend == "convex" else x + new


def stage(state: State, spec: SynergySpec, atoms: Tensor, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One image, one layer: next atoms (N, D), next map (D, h, w), heatmap logits (N, h, w)."""
    heat = heatmap(state, atoms, x)
    atoms = update(state, spec, atoms, gather(state, spec, heat, x, valid))
    return atoms, modulate(state, spec, heat, atoms, x), heat


def decode(state: State, head: str, atoms: Tensor, x: Tensor) -> Tensor:
    y = plain.gelu(norm(below(state, "upsample"), "1", plain.shuffle(x).movedim(0, -1), eps=1e-6).movedim(-1, 0))
    y = plain.gelu(plain.shuffle(y))
    return torch.stack([(row[:, None, None] * y).sum(0) for row in linear(state, f"{head}.classes", atoms)])


def outputs(state: State, spec: SynergySpec, maps: list[Tensor], valid: Tensor) -> dict[str, list[Tensor]]:
    """Return every output by name, each with its images stacked, from the pyramid's maps and valid pixels (B, H, W)."""
    found: dict[str, list[Tensor]] = {}
    for b, x in enumerate(plain.fuse(below(state, "fuse"), maps)):
        atoms, refined, readable = state["table"], x, plain.cells(valid[b], 4)
        one = {"static": decode(state, "static_head", atoms, x)}
        count = len({name.split(".")[2] for name in state if name.startswith("interactor.stages.")})
        for number in range(count):
            weights = below(state, f"interactor.stages.{number}")
            atoms, refined, heat = stage(weights, spec, atoms, refined, readable)
            one |= {f"heat{number}": heat, f"table{number}": atoms}
        one["logits"] = decode(state, "head", atoms, refined)
        for name, tensor in one.items():
            found.setdefault(name, []).append(tensor)
    return found
