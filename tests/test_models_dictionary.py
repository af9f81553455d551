import oracle_d2ls as oracle
import torch
from picomodel import pico_spec
from torch import Tensor

from rspipe.models.dictionary import DictionaryGenerator, Modulator


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_mixing_weights_are_convex() -> None:
    mix = Modulator(pico_spec(), 256).double()(normal(2, 256, 2, 3), None)
    assert mix.shape == (2, 4, 4)
    assert bool((mix > 0).all())
    assert torch.allclose(mix.sum(-1), torch.ones(2, 4, dtype=torch.float64))


def test_masked_pools_see_what_cropping_would_leave() -> None:
    modulator = Modulator(pico_spec(), 256).double()
    deepest = normal(1, 256, 3, 4)
    valid = torch.zeros(1, 1, 3, 4, dtype=torch.bool)
    valid[..., 1:, 2:] = True
    expected = oracle.modulate(modulator.state_dict(), deepest[0, :, 1:, 2:], 4)
    assert torch.allclose(modulator(deepest, valid)[0], expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(modulator(deepest, valid), modulator(torch.where(valid, deepest, 1e20), valid))


def test_one_hot_weights_choose_a_sub_atom() -> None:
    generator = DictionaryGenerator(pico_spec()).double()
    table = normal(4, 64)
    chosen = torch.tensor([[0, 3, 1, 2], [1, 1, 0, 3]])
    found = generator(table, torch.nn.functional.one_hot(chosen, 4).double())
    for b in range(2):
        for n in range(4):
            expanded = table[n] @ generator.expand.weight.T + generator.expand.bias
            expected = expanded[64 * chosen[b, n] : 64 * (chosen[b, n] + 1)]
            assert torch.allclose(found[b, n], expected, rtol=1e-12, atol=1e-12)


def test_mixture_equals_the_loop() -> None:
    generator = DictionaryGenerator(pico_spec()).double()
    table, mix = normal(4, 64), normal(2, 4, 4, seed=1).softmax(-1)
    expected = torch.stack([oracle.generate(generator.state_dict(), table, weights) for weights in mix])
    assert torch.allclose(generator(table, mix), expected, rtol=1e-12, atol=1e-12)
