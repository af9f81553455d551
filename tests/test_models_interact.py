import oracle_d2ls as oracle
import torch
from torch import Tensor

from rspipe.models.interact import (
    FAINT,
    AlternatingInteractor,
    AtomsReadPixels,
    FourierPosition,
    PixelsReadAtoms,
    keep_positions,
)
from rspipe.models.specs import AttentionSpec

FOUR_HEADS = AttentionSpec(heads=4)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_position_is_the_sine_and_cosine_of_the_projected_centre() -> None:
    position = FourierPosition(16).double()
    assert torch.allclose(position(3, 5), oracle.position(position.frequencies, 3, 5), rtol=1e-12, atol=1e-12)


def test_a_kept_position_is_the_same_and_only_of_its_size() -> None:
    position = FourierPosition(16)
    small, large = position(3, 3), position(4, 4)
    keep_positions(torch.nn.Sequential(position), 4)
    assert torch.equal(position(4, 4), large)
    assert position(4, 4) is position(4, 4)
    assert torch.equal(position(3, 3), small)
    assert list(position.state_dict()) == ["frequencies"]


def test_pixels_read_with_next_to_no_weight_are_not_read() -> None:
    read = AtomsReadPixels(64, 1)
    with torch.no_grad():
        read.query.weight.copy_(normal(32, 64, seed=3))
        read.key.weight.copy_(normal(32, 64, seed=4) / 3)
    atom, placed, values = normal(1, 1, 64).float(), normal(1, 30, 64, seed=2).float(), torch.zeros(1, 30, 64)
    before = read(atom, placed, values, None)
    weights = oracle.weights(read.state_dict(), 1, atom[0], placed[0])[0, 0]
    faint = weights < FAINT / 10
    assert (weights[faint] > 1e-38).any()
    values[0, faint] = 1e32
    assert torch.equal(read(atom, placed, values, None), before)


def test_frequencies_are_saved_but_never_trained() -> None:
    position = FourierPosition(16)
    assert list(position.state_dict()) == ["frequencies"]
    assert list(position.parameters()) == []


def test_carried_projections_equal_plain_attention() -> None:
    read, write = AtomsReadPixels(64, 4).double(), PixelsReadAtoms(64, 4).double()
    atoms, pixels, placed = normal(2, 4, 64), normal(2, 30, 64, seed=1), normal(2, 30, 64, seed=2)
    valid = torch.ones(2, 1, 30, dtype=torch.bool)
    valid[1, 0, ::3] = False
    found_read, found_write = read(atoms, placed, pixels, valid), write(placed, atoms, atoms + 1)
    for b in range(2):
        kept = valid[b, 0]
        expected = oracle.attend(read.state_dict(), 4, atoms[b], placed[b, kept], pixels[b, kept])
        assert torch.allclose(found_read[b], expected, rtol=1e-10, atol=1e-10)
        expected = oracle.attend(write.state_dict(), 4, placed[b], atoms[b], atoms[b] + 1)
        assert torch.allclose(found_write[b], expected, rtol=1e-10, atol=1e-10)


def test_permuting_the_classes_permutes_the_atoms_and_leaves_the_map() -> None:
    interactor = AlternatingInteractor(64, 2, FOUR_HEADS).double()
    atoms, x, order = normal(2, 4, 64), normal(2, 64, 5, 6, seed=1), torch.tensor([2, 0, 3, 1])
    for stage, permuted in zip(interactor(atoms, x, None), interactor(atoms[:, order], x, None), strict=True):
        assert torch.allclose(stage.atoms[:, order], permuted.atoms, rtol=1e-10, atol=1e-10)
        assert torch.allclose(stage.x, permuted.x, rtol=1e-10, atol=1e-10)


def test_masked_pixels_are_not_read() -> None:
    interactor = AlternatingInteractor(64, 2, FOUR_HEADS).double()
    atoms, x = normal(1, 4, 64), normal(1, 64, 5, 6, seed=1)
    valid = torch.ones(1, 1, 5, 6, dtype=torch.bool)
    valid[..., 2:4, 1:5] = False
    stages, changed = interactor(atoms, x, valid), interactor(atoms, torch.where(valid, x, 7.0), valid)
    assert all(torch.equal(one.atoms, other.atoms) for one, other in zip(stages, changed, strict=True))
