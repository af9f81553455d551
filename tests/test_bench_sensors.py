"""What pictures of another sensor are scored by: cloud of any thickness, and shadow, where the labels tell."""

from pathlib import Path

import pytest
import torch
from bench.protocol import WORKFLOWS
from bench.sensors import KINDS, Found, found_in, known_size, told
from torch import Tensor, nn

from rspipe.models.data import Patch
from rspipe.models.labels import IGNORE_ID, LabelSet
from rspipe.models.outputs import SegOutput
from rspipe.pipeline.training import load_training

LABELS = LabelSet(
    ("clear", "thin cloud", "thick cloud", "cloud shadow"), {"cloud": (1, 2), "open": (0, 3), "faint": (0, 1)}
)


def test_labels_tell_of_cloud_where_all_that_they_allow_agrees() -> None:
    assert told(LABELS, KINDS["cloud"])[:8].tolist() == [0, 1, 1, 0, 1, 0, IGNORE_ID, IGNORE_ID]
    assert told(LABELS, KINDS["shadow"])[:8].tolist() == [0, 0, 0, 1, 0, IGNORE_ID, 0, IGNORE_ID]


class Brightness(nn.Module):
    """Says thick cloud where the first band is bright, shadow where it is dark."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor, valid: Tensor) -> SegOutput:
        del valid
        logits = torch.zeros(len(image), 4, *image.shape[-2:])
        logits[:, 2], logits[:, 3] = image[:, 0], -image[:, 0]
        return SegOutput(logits)


def test_hits_and_misses_are_counted_over_the_pixels_that_are_known(tmp_path: Path) -> None:
    recipe = load_training(WORKFLOWS / "train_cloud_thickness.yaml", tmp_path, []).recipe
    labels = torch.full((32, 32), 255, dtype=torch.uint8)
    labels[0, :10], labels[1, :10] = 4, 5  # some cloud; clear or shadow
    bands = torch.full((8, 32, 32), 0.1)
    bands[:, 0, :6], bands[:, 1, :2], bands[:, 9] = 0.9, 0.9, 0.9  # 6 of 10, 2 of 10, some unknown
    picture = Patch("p", bands, labels, 30.0)
    (cloud,) = found_in(Brightness(), [picture], recipe)
    assert cloud == Found("cloud", 6 / 12, 6 / 8, 6 / 10)
    dark = torch.full((8, 32, 32), 0.1)
    shady = Patch("q", dark, torch.where(torch.arange(1024).view(32, 32) < 8, 3, 4).to(torch.uint8), 30.0)
    cloud, shadow = found_in(Brightness(), [picture, shady], recipe)
    assert (cloud.iou, cloud.recall) == pytest.approx((6 / (12 + 1016), 6 / (10 + 1016)))
    assert shadow == Found("shadow", 8 / (8 + 1016 + 4), 8 / (8 + 1016 + 4), 1.0)


@pytest.mark.parametrize(("pixel_m", "side_px"), [(10.0, 16), (30.0, 48), (60.0, 48)])
def test_only_pixels_finer_than_the_recipe_knows_are_averaged(pixel_m: float, side_px: int) -> None:
    patch = Patch("p", torch.zeros(8, 48, 48), torch.zeros(48, 48, dtype=torch.uint8), pixel_m)
    assert known_size(patch, 30.0).labels.shape == (side_px, side_px)
