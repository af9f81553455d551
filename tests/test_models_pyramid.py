import math

import numpy as np
import pytest
import torch

from rspipe.models.pyramid import Pyramid, compressed
from rspipe.models.specs import PyramidSpec


def test_strides_and_widths_of_the_maps() -> None:
    pyramid = Pyramid(PyramidSpec(size="pico", in_bands=13))
    shapes = [tuple(level.shape) for level in pyramid(torch.zeros(1, 13, 64, 96))]
    assert shapes == [(1, 32, 16, 24), (1, 64, 8, 12), (1, 128, 4, 6), (1, 256, 2, 3)]


def test_level_norms_normalise_channels() -> None:
    pyramid = Pyramid(PyramidSpec(size="pico", in_bands=3, level_norms=True))
    for level in pyramid(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))):
        assert torch.allclose(level.mean(1), torch.zeros(1), atol=1e-4)
        assert torch.allclose(level.var(1, unbiased=False), torch.ones(1), atol=1e-2)


def test_stochastic_depth_acts_in_training_only() -> None:
    pyramid = Pyramid(PyramidSpec(size="pico", in_bands=3, drop_path=0.9))
    with torch.no_grad():
        for name, parameter in pyramid.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(1.0)
        x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        pyramid.eval()
        assert torch.equal(pyramid(x)[-1], pyramid(x)[-1])
        pyramid.train()
        torch.manual_seed(0)
        assert not all(torch.equal(pyramid(x)[-1], pyramid(x)[-1]) for _ in range(5))


def test_compressed_numbers_are_what_the_plain_encoder_takes() -> None:
    plain, compressing = (Pyramid(PyramidSpec(size="pico", in_bands=3, compress=on)).eval() for on in (False, True))
    compressing.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 5
    x[:, 1, :32] = 0
    shifted = x.double().numpy() + 2
    logarithm = np.log(shifted + np.sqrt(shifted**2 + 1)) - np.log(2 + np.sqrt(5))
    for found, expected in zip(compressing(x), plain(torch.from_numpy(logarithm).float()), strict=True):
        torch.testing.assert_close(found, expected)


def test_compression_keeps_to_the_closed_form_at_both_ends() -> None:
    scores = [-1e8, -50.0, -2.001, -2.0, -1.9, 1e-3, 7.0, 3e4, 1e8]
    wanted = [math.asinh(score + 2) - math.asinh(2) for score in scores]
    assert compressed(torch.tensor(scores)).tolist() == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    assert compressed(torch.tensor([3e38, -3e38, math.inf])).isfinite().all()


def test_a_number_that_is_missing_stays_zero_when_compressed() -> None:
    seen: list[torch.Tensor] = []
    pyramid = Pyramid(PyramidSpec(size="pico", in_bands=3, compress=True))
    pyramid.body.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    pyramid(torch.zeros(1, 3, 32, 32))
    assert torch.equal(seen[0], torch.zeros(1, 3, 32, 32))


def test_first_cards_do_not_compress() -> None:
    assert PyramidSpec.model_validate_json('{"size": "pico", "in_bands": 8}').compress is False
