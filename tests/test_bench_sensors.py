"""What a picture of another sensor is scored by: cloud of any thickness, where the labels tell."""

from pathlib import Path

import pytest
import torch
from bench.protocol import WORKFLOWS
from bench.sensors import clouds, found_in, known_size
from torch import Tensor, nn

from rspipe.models.data import Patch
from rspipe.models.labels import IGNORE_ID, LabelSet
from rspipe.models.outputs import SegOutput
from rspipe.pipeline.training import load_training

LABELS = LabelSet(
    ("clear", "thin cloud", "thick cloud", "cloud shadow"), {"cloud": (1, 2), "open": (0, 3), "faint": (0, 1)}
)


def test_labels_tell_of_cloud_where_all_that_they_allow_agrees() -> None:
    assert clouds(LABELS)[:8].tolist() == [0, 1, 1, 0, 1, 0, IGNORE_ID, IGNORE_ID]


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
    found = found_in(Brightness(), Patch("p", bands, labels, 30.0), recipe)
    assert (found.iou, found.precision, found.recall) == pytest.approx((6 / 12, 6 / 8, 6 / 10))


@pytest.mark.parametrize(("pixel_m", "side_px"), [(10.0, 16), (30.0, 48), (60.0, 48)])
def test_only_pixels_finer_than_the_recipe_knows_are_averaged(pixel_m: float, side_px: int) -> None:
    patch = Patch("p", torch.zeros(8, 48, 48), torch.zeros(48, 48, dtype=torch.uint8), pixel_m)
    assert known_size(patch, 30.0).labels.shape == (side_px, side_px)
