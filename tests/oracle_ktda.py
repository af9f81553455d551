"""KTDA written the long way: one image at a time, explicit attention, pools by loops; parameters read by name."""

import math

import torch
from oracle_d2ls import State, below, gelu, linear, norm
from torch import Tensor
from torch.nn import functional


def conv(state: State, name: str, x: Tensor) -> Tensor:
    weight = state[f"{name}.weight"]
    return functional.conv2d(x[None], weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)[0]


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(x[None], size=size, mode="bilinear", align_corners=False)[0]


def grid_cells(valid: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) -> size; a cell is valid if any pixel that it touches is."""
    height, width = valid.shape
    rows, columns = size
    return torch.tensor(
        [
            [
                bool(
                    valid[
                        i * height // rows : math.ceil((i + 1) * height / rows),
                        j * width // columns : math.ceil((j + 1) * width / columns),
                    ].any()
                )
                for j in range(columns)
            ]
            for i in range(rows)
        ]
    )


def block(state: State, heads: int, x: Tensor, kept: Tensor) -> Tensor:
    """One pre-norm transformer block over cells (S, D); keys and values of unreadable cells are cut out."""
    width = x.shape[1] // heads
    q, k, v = linear(state, "attn.qkv", norm(state, "norm1", x)).chunk(3, dim=1)
    answers = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = (q[:, part] @ k[kept][:, part].T / math.sqrt(width)).exp()
        answers.append(scores / scores.sum(1, keepdim=True) @ v[kept][:, part])
    x = x + linear(state, "attn.proj", torch.cat(answers, dim=1))
    return x + linear(state, "mlp.fc2", gelu(linear(state, "mlp.fc1", norm(state, "norm2", x))))


def modulate(state: State, heads: int, x: Tensor, cells: Tensor) -> Tensor:
    rows = x.flatten(1).T
    depth = len({name.split(".")[1] for name in state})
    for i in range(depth):
        rows = block(below(state, f"blocks.{i}"), heads, rows, cells.flatten())
    return rows.T.reshape(x.shape)


def pool(x: Tensor, cells: Tensor, bins: int) -> Tensor:
    """(C, h, w) -> (C, bins, bins), by cutting out the valid cells of every part."""
    height, width = cells.shape
    out = torch.empty(len(x), bins, bins, dtype=x.dtype)
    for i in range(bins):
        for j in range(bins):
            rows = slice(i * height // bins, math.ceil((i + 1) * height / bins))
            columns = slice(j * width // bins, math.ceil((j + 1) * width / bins))
            some = x[:, rows, columns][:, cells[rows, columns]]
            out[:, i, j] = (some if some.numel() else x[:, cells]).mean(1)
    return out


def unit(state: State, x: Tensor) -> Tensor:
    y = conv(state, "convolve", x)
    mean, var = state["norm.running_mean"], state["norm.running_var"]
    y = (y - mean[:, None, None]) / (var + 1e-5).sqrt()[:, None, None]
    return (y * state["norm.weight"][:, None, None] + state["norm.bias"][:, None, None]).relu()


def uper(state: State, maps: list[Tensor], coarsest: Tensor) -> Tensor:
    sizes = [(x.shape[1], x.shape[2]) for x in maps]
    parts = [maps[3]]
    for branch, bins in enumerate((1, 2, 3, 6)):
        parts.append(resize(unit(below(state, f"pool.branches.{branch}"), pool(maps[3], coarsest, bins)), sizes[3]))
    top = [unit(below(state, "pool.mix"), torch.cat(parts))]
    for level in (2, 1, 0):
        lateral = unit(below(state, f"laterals.{level}"), maps[level])
        top.append(lateral + resize(top[-1], sizes[level]))
    smooth = [unit(below(state, f"smooths.{level}"), top[3 - level]) for level in range(3)]
    stack = torch.cat([resize(x, sizes[0]) for x in (*smooth, top[0])])
    return conv(state, "classify.1", unit(below(state, "fuse"), stack))


def logits(state: State, maps: list[Tensor], valid: Tensor, heads: int) -> Tensor:
    """Logits (B, N, H, W) from the student's maps and valid pixels (B, H, W)."""
    height, width = valid.shape[-2:]
    grid = (math.ceil(height / 14), math.ceil(width / 14))
    out = []
    for b in range(len(valid)):
        levels, masks = [], []
        for i, scale in enumerate((4, 2, 1, 0.5)):
            x = resize(conv(below(state, "levels.projections"), str(i), maps[i][b]), grid)
            x = conv(below(state, f"neck.levels.{i}"), "lateral", x)
            x = functional.interpolate(x[None], scale_factor=scale, mode="bilinear", align_corners=False)[0]
            x = conv(below(state, f"neck.levels.{i}"), "smooth", x)
            masks.append(grid_cells(valid[b], (x.shape[1], x.shape[2])))
            levels.append(modulate(below(state, f"modulations.{i}"), heads, x, masks[i]))
        out.append(resize(uper(below(state, "head"), levels, masks[3]), (height, width)))
    return torch.stack(out)
