import oracle_d2ls as oracle
import pytest
import torch

from rspipe.models.align import Fuse


@pytest.mark.parametrize("finest", [(16, 24), (17, 9)])
def test_folded_matrices_equal_the_concatenation(finest: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    widths = (3, 5, 7, 9)
    fuse = Fuse(widths, 8).double()
    maps = [
        torch.randn(2, width, -(-finest[0] // 2**i), -(-finest[1] // 2**i), generator=generator, dtype=torch.float64)
        for i, width in enumerate(widths)
    ]
    found = fuse(maps)
    assert found.shape == (2, 8, *finest)
    assert torch.allclose(found, oracle.fuse(fuse.state_dict(), maps), rtol=1e-12, atol=1e-12)
