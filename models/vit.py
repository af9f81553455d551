"""Transformer blocks over the cells of a feature map."""

from timm.models.vision_transformer import Block
from torch import Tensor, nn


class FeatureModulation(nn.Module):
    """KTDA's feature modulation of one level: standard pre-norm transformer blocks over the cells of its map.

    A block adds the answer of self-attention over the normalised cells, then that of a perceptron four times as wide
    over the normalised sum. There is no code of position, no dropout and no layer scale. Attention is fused: the
    (cells x cells) scores, 480 million for one 512 x 512 image on the finest level, never exist as a whole.
    """

    def __init__(self, width: int, heads: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width, heads, qkv_bias=True, norm_layer=nn.LayerNorm) for _ in range(blocks)
        ).apply(_initialise)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return the modulated map.

        Args:
            x: (B, D, h, w).
            valid: (B, 1, h, w) bool, the cells that may be read; None for all. A mask without a hole is the same
                function, bit for bit.

        Returns:
            (B, D, h, w).
        """
        readable = None if valid is None else valid.flatten(2).unsqueeze(1)
        cells: Tensor = x.flatten(2).transpose(1, 2)
        for block in self.blocks:
            cells = block(cells, attn_mask=readable)
        return cells.transpose(1, 2).reshape(x.shape)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
