"""D2LS written the long way: concatenated maps, projected pixels, loops over images, heads and classes.

Parameters are read by name out of a state dict; nothing of the model's own arithmetic is used.
"""

import math

import numpy as np
import torch
from scipy.ndimage import correlate1d
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]
WEIGHTS = np.array([1, 2, 2, 2, 1]) / 8


def below(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix + "."): t for name, t in state.items() if name.startswith(prefix + ".")}


def linear(state: State, name: str, x: Tensor) -> Tensor:
    y = x @ state[f"{name}.weight"].T
    return y + state[f"{name}.bias"] if f"{name}.bias" in state else y


def norm(state: State, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return (
        centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * state[f"{name}.weight"]
        + state[f"{name}.bias"]
    )


def fuse(state: State, maps: list[Tensor]) -> Tensor:
    size = maps[0].shape[-2:]
    up = []
    for i, x in enumerate(maps):
        y = linear(state, f"levels.{i}.project", x.movedim(1, -1)).movedim(-1, 1)
        up.append(functional.interpolate(y, size=size, mode="bilinear", align_corners=False))
    return linear(state, "mix", torch.cat(up[::-1], dim=1).movedim(1, -1)).movedim(-1, 1)


def modulate(state: State, deepest: Tensor, subatoms: int) -> Tensor:
    """One image, (C, h, w) or only its valid cells as (C, cells, 1)."""
    x = linear(state, "project", deepest.flatten(1).T)
    half = x.shape[1] // 2
    pooled = torch.cat(
        [linear(state, "peak", x[:, :half].max(0).values), linear(state, "average", x[:, half:].mean(0))]
    )
    scores = linear(state, "score.2", linear(state, "score.0", pooled).relu()).view(-1, subatoms)
    return scores.exp() / scores.exp().sum(1, keepdim=True)


def generate(state: State, table: Tensor, mix: Tensor) -> Tensor:
    width = table.shape[1]
    rows = []
    for n, weights in enumerate(mix):
        expanded = linear(state, "expand", table[n])
        rows.append(sum(w * expanded[k * width : (k + 1) * width] for k, w in enumerate(weights)))
    return torch.stack(rows)


def position(frequencies: Tensor, height: int, width: int) -> Tensor:
    rows = []
    for i in range(height):
        for j in range(width):
            centre = frequencies.new_tensor([2 * (j + 0.5) / width - 1, 2 * (i + 0.5) / height - 1])
            phase = 2 * math.pi * (centre @ frequencies)
            rows.append(torch.cat([phase.sin(), phase.cos()]))
    return torch.stack(rows)


def weights(state: State, heads: int, query: Tensor, key: Tensor) -> Tensor:
    """One image: (Q, D), (K, D) -> (heads, Q, K)."""
    q, k = linear(state, "query", query), linear(state, "key", key)
    each = q.shape[1] // heads
    out = []
    for h in range(heads):
        part = slice(h * each, (h + 1) * each)
        scores = q[:, part] @ k[:, part].T / math.sqrt(each)
        powers = (scores - scores.amax(1, keepdim=True)).exp()
        out.append(powers / powers.sum(1, keepdim=True))
    return torch.stack(out)


def attend(state: State, heads: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """One image: (Q, D), (K, D), (K, D) -> (Q, D)."""
    v = linear(state, "value", value)
    answers = [
        weight @ part for weight, part in zip(weights(state, heads, query, key), v.chunk(heads, dim=1), strict=True)
    ]
    return linear(state, "out", torch.cat(answers, dim=1))


def interact(state: State, heads: int, atoms: Tensor, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """One image: atoms (N, D), map (D, h, w), valid cells (h, w); unreadable cells are cut out, not masked."""
    first, pixels = atoms, x.flatten(1).T
    place = position(state["position.frequencies"], *x.shape[-2:])
    kept = valid.flatten()
    stages = len({name.split(".")[1] for name in state if name.startswith("stages.")})
    for stage in (below(state, f"stages.{i}") for i in range(stages)):
        read = attend(below(stage, "read"), heads, atoms + first, (pixels + place)[kept], pixels[kept])
        atoms = norm(stage, "norm_atoms", atoms + read)
        written = attend(below(stage, "write"), heads, pixels + place, atoms + first, atoms)
        pixels = norm(stage, "norm_pixels", pixels + written)
    read = attend(below(state, "last"), heads, atoms + first, (pixels + place)[kept], pixels[kept])
    return norm(state, "norm", atoms + read), pixels.T.reshape(x.shape)


def shuffle(x: Tensor) -> Tensor:
    """Pixel shuffle by two of one image (4 C, h, w)."""
    channels, height, width = x.shape
    y = torch.empty(channels // 4, 2 * height, 2 * width, dtype=x.dtype)
    for i in range(2):
        for j in range(2):
            y[:, i::2, j::2] = x[2 * i + j :: 4]
    return y


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def decode(state: State, atoms: Tensor, x: Tensor, bands: Tensor | None = None) -> Tensor:
    """One image, `state` of the whole model; bands (., H, W), those of the short way if there is one."""
    up = below(state, "upsample")
    if bands is not None:
        cells = bands.unfold(1, 4, 4).unfold(2, 4, 4)
        x = x + torch.einsum("dbij,bhwij->dhw", state["detail.map.weight"], cells)
    y = gelu(norm(up, "1", shuffle(x).movedim(0, -1), eps=1e-6).movedim(-1, 0))
    y = gelu(shuffle(y))
    head = below(state, "head")
    z = linear(head, "classes.4", linear(head, "classes.2", linear(head, "classes.0", atoms).relu()).relu())
    return torch.stack([(row[:, None, None] * y).sum(0) for row in z])


def cells(valid: Tensor, stride: int) -> Tensor:
    """(H, W) -> (H / stride, W / stride)."""
    height, width = valid.shape
    return torch.tensor(
        [
            [bool(valid[i : i + stride, j : j + stride].any()) for j in range(0, width, stride)]
            for i in range(0, height, stride)
        ]
    )


def logits(
    state: State, maps: list[Tensor], valid: Tensor, sizes: tuple[int, int], bands: Tensor | None = None
) -> Tensor:
    """Logits (B, N, H, W) from the pyramid's maps and valid pixels (B, H, W); sizes = (heads, subatoms).

    `bands` (B, ., H, W): those that pixels have a short way from, as the encoder sees them.
    """
    heads, subatoms = sizes
    fused = fuse(below(state, "fuse"), maps)
    out = []
    for b in range(len(fused)):
        deep = maps[-1][b][:, cells(valid[b], 32)]
        mix = modulate(below(state, "modulator"), deep, subatoms)
        table = generate(below(state, "generator"), state["table"], mix)
        atoms, x = interact(below(state, "interactor"), heads, table, fused[b], cells(valid[b], 4))
        out.append(decode(state, atoms, x, None if bands is None else bands[b]))
    return torch.stack(out)


def averaged(logits: Tensor) -> Tensor:
    """What a smooth model makes of its logits."""
    along_rows = correlate1d(logits.numpy(), WEIGHTS, axis=2, mode="nearest")
    return torch.from_numpy(correlate1d(along_rows, WEIGHTS, axis=3, mode="nearest"))
