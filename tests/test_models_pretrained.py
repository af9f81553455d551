"""Pretrained encoders: real timm networks written to files, put into pyramids of other bands."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rspipe.models.errors import SpecError, WeightsError
from rspipe.models.pretrained import Encoder, FileWeights, TimmWeights, TorchGeoWeights, load_encoder
from rspipe.models.pyramid import Pyramid
from rspipe.models.specs import PyramidSpec, Size

RGB = ("red", "green", "blue")


def drawn(name: str, in_chans: int = 3) -> nn.Module:
    torch.manual_seed(7)
    model: nn.Module = timm.create_model(name, pretrained=False, in_chans=in_chans, num_classes=5)
    return model.eval()


def written(model: nn.Module, path: Path, prefix: str = "") -> Path:
    save_file({prefix + name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


def pyramid_of(size: Size, bands: int, *, level_norms: bool = False) -> Pyramid:
    return Pyramid(PyramidSpec(size=size, in_bands=bands, level_norms=level_norms)).eval()


@torch.no_grad()
def last_map(model: nn.Module, image: Tensor) -> Tensor:
    """Return what the whole network makes before it pools, less the final norm."""
    x: Tensor = image
    for name, part in model.named_children():
        if name in {"norm_pre", "head", "global_pool", "fc"}:
            break
        x = part(x)
    return x


@pytest.mark.parametrize(
    ("name", "size"), [("convnext_atto", "atto"), ("convnext_nano", "nano"), ("resnet18", "resnet18")]
)
def test_a_filled_pyramid_computes_what_the_whole_network_computes(tmp_path: Path, name: str, size: Size) -> None:
    whole, pyramid = drawn(name), pyramid_of(size, 3)
    load_encoder(pyramid, Encoder(written(whole, tmp_path / "w.safetensors"), RGB), RGB)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(pyramid(image)[-1], last_map(whole, image), rtol=1e-4, atol=1e-5)


def test_kernels_go_where_their_band_goes_and_others_get_the_mean(tmp_path: Path) -> None:
    whole, pyramid = drawn("convnext_atto"), pyramid_of("atto", 5)
    load_encoder(
        pyramid, Encoder(written(whole, tmp_path / "w.safetensors"), RGB), ("blue", "green", "red", "nir", "swir16")
    )
    old, new = whole.state_dict()["stem.0.weight"], pyramid.body.state_dict()["stem_0.weight"]
    for channel, source in ((0, 2), (1, 1), (2, 0)):
        torch.testing.assert_close(new[:, channel], old[:, source] * 3 / 5)
    mean = (old[:, 0] + old[:, 1] + old[:, 2]) / 3
    torch.testing.assert_close(new[:, 3], mean * 3 / 5)
    torch.testing.assert_close(new[:, 4], mean * 3 / 5)


def test_timm_s_own_rule_is_kept_where_every_band_is_new(tmp_path: Path) -> None:
    # A grey picture looks the same through old and new stems, whatever the number of bands.
    whole, pyramid = drawn("convnext_atto"), pyramid_of("atto", 4)
    bands = ("nir", "nir08", "swir16", "swir22")
    load_encoder(pyramid, Encoder(written(whole, tmp_path / "w.safetensors"), RGB), bands)
    grey = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        new = pyramid(grey.expand(1, 4, 64, 64))[-1]
        torch.testing.assert_close(new, last_map(whole, grey.expand(1, 3, 64, 64)), rtol=1e-3, atol=1e-4)


def test_norms_of_the_pyramid_s_own_stay(tmp_path: Path) -> None:
    pyramid = pyramid_of("atto", 3, level_norms=True)
    before = {name: tensor.clone() for name, tensor in pyramid.state_dict().items() if name.startswith("norms")}
    load_encoder(pyramid, Encoder(written(drawn("convnext_atto"), tmp_path / "w.safetensors"), RGB), RGB)
    assert before
    for name, tensor in before.items():
        torch.testing.assert_close(pyramid.state_dict()[name], tensor)


def test_timm_weights_come_from_a_file_or_are_asked_for_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(drawn("convnext_atto"), tmp_path / "w.safetensors")
    found = (
        TimmWeights(source="timm", name="convnext_atto.d2_in1k", path=Path("w.safetensors")).under(tmp_path).encoder()
    )
    assert (found.path, found.bands) == (path, RGB)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(WeightsError, match=r"model\.safetensors of timm/convnext_atto\.d2_in1k is not on this machine"):
        TimmWeights(source="timm", name="convnext_atto.d2_in1k").encoder()
    with pytest.raises(SpecError, match="has no weights of this name"):
        TimmWeights(source="timm", name="convnext_gigantic").encoder()


def test_torchgeo_knows_the_bands_of_its_weights(tmp_path: Path) -> None:
    path = written(drawn("resnet18", in_chans=11), tmp_path / "w.safetensors")
    name = "ResNet18_Weights.LANDSAT_OLI_TIRS_TOA_MOCO"
    encoder = TorchGeoWeights(source="torchgeo", name=name, path=path).encoder()
    assert encoder.bands == (
        *("coastal", "blue", "green", "red", "nir", "swir16", "swir22", "pan", "cirrus", "lwir11", "lwir12"),
    )
    pyramid = pyramid_of("resnet18", 2)
    load_encoder(pyramid, encoder, ("cirrus", "blue"))
    old, new = drawn("resnet18", in_chans=11).state_dict()["conv1.weight"], pyramid.body.state_dict()["conv1.weight"]
    torch.testing.assert_close(new, old[:, [8, 1]] * 11 / 2)
    sentinel = TorchGeoWeights(source="torchgeo", name="ResNet50_Weights.SENTINEL2_ALL_MOCO", path=path).encoder()
    assert sentinel.bands[7:9] == ("nir", "nir08")


def test_torchgeo_weights_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    absent = tmp_path / "absent.safetensors"
    for name, error, message in (
        ("ResNet18_Weights.SENTINEL2_ALL_MOCO", WeightsError, r"fetch https://.*only \.safetensors files are opened"),
        ("ViTSmall16_Weights.SENTINEL2_ALL_MOCO", SpecError, "none is a ConvNeXt"),
        ("ResNet18_Weights.NO_SUCH", SpecError, "has no weights of this name"),
    ):
        with pytest.raises(error, match=message):
            TorchGeoWeights(source="torchgeo", name=name, path=absent).encoder()
    path = written(drawn("resnet18"), tmp_path / "w.safetensors")
    with pytest.raises(SpecError, match=r"\(VV, VH\) have no common names"):
        TorchGeoWeights(source="torchgeo", name="ResNet50_Weights.SENTINEL1_ALL_MOCO", path=path).encoder()


def test_weights_of_ours_go_by_their_prefix(tmp_path: Path) -> None:
    ours, pyramid = pyramid_of("pico", 2), pyramid_of("pico", 2)
    path = written(ours, tmp_path / "w.safetensors", prefix="pyramid.")
    weights = FileWeights(source="file", path=path, bands=("nir", "red"), prefix="pyramid.body.")
    load_encoder(pyramid, weights.encoder(), ("nir", "red"))
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(pyramid.state_dict()[name], tensor)


def test_files_that_do_not_fit_are_refused_and_change_nothing(tmp_path: Path) -> None:
    pyramid = pyramid_of("atto", 3)
    before = {name: tensor.clone() for name, tensor in pyramid.state_dict().items()}
    deeper = written(drawn("convnext_nano"), tmp_path / "nano.safetensors")
    broken = drawn("convnext_atto")
    broken.state_dict()["stages.1.blocks.0.gamma"][3] = torch.nan
    nan = written(broken, tmp_path / "nan.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(nan.read_bytes()[:-100])
    pickle = tmp_path / "weights.pth"
    pickle.write_bytes(b"\x80\x04")
    for path, bands, message in (
        (deeper, RGB, r"\d+ differences: .*not in the pyramid"),
        (nan, RGB, r"1 differences: stages_1\.blocks\.0\.gamma: holds NaN"),
        (nan, ("red", "green"), "a convolution over 2 channels is expected"),
        (cut, RGB, "not a whole safetensors file"),
        (pickle, RGB, r"only \.safetensors files are opened"),
        (tmp_path / "absent.safetensors", RGB, "no such file"),
    ):
        with pytest.raises(WeightsError, match=message):
            load_encoder(pyramid, Encoder(path, bands), RGB)
    for name, tensor in pyramid.state_dict().items():
        torch.testing.assert_close(tensor, before[name])
