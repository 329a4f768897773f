"""Scores of a benchmark set: the right pixels, the paper's self-ensemble."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edsr_runtime.errors import NumericalError, ShapeError
from edsr_runtime.metrics import PROTOCOLS
from edsr_runtime.resize import imresize
from edsr_train.data.pictures import Pair
from edsr_train.evaluate import evaluate, evaluate_bicubic, mean_psnr, mean_ssim, super_resolve
from edsr_train.models import EDSR, MDSR, EDSRConfig, MDSRConfig
from edsr_train.models.branch import SuperResolutionNetwork
from photographs import noise


def tiny_edsr(scale: int) -> EDSR:
    torch.manual_seed(0)
    return EDSR(EDSRConfig(scale, n_resblocks=1, n_feats=8))


class Nearest(SuperResolutionNetwork):
    """Repeats pixels; its scores can be worked out by hand."""

    @property
    def scales(self) -> tuple[int, ...]:
        return (2, 3)

    def branch(self, scale: int) -> nn.Module:
        return nn.Upsample(scale_factor=scale)


def test_output_is_clamped_and_rounded_half_to_even() -> None:
    values = torch.tensor([-3.0, 0.5, 1.5, 2.5, 254.5, 300.0]).view(1, 1, 1, 6).expand(1, 3, 1, 6)
    sr = super_resolve(lambda _: values, noise(1, 3))
    assert sr[0, :, 0].tolist() == [0, 0, 2, 2, 254, 255]


def test_self_ensemble_averages_the_eight_views_before_rounding() -> None:
    network, lr = tiny_edsr(2), noise(5, 7)

    def turned(picture: Tensor, quarter: int, mirror: bool) -> Tensor:
        picture = picture.flip(-1) if mirror else picture
        return torch.rot90(picture, quarter, (-2, -1))

    x = torch.from_numpy(lr).permute(2, 0, 1).unsqueeze(0).double()
    exact = tiny_edsr(2).double()
    outputs = []
    with torch.no_grad():
        for mirror in (False, True):
            for quarter in range(4):
                back = torch.rot90(exact(turned(x, quarter, mirror)), -quarter, (-2, -1))
                outputs.append(back.flip(-1) if mirror else back)
    mean = torch.stack(outputs).mean(0).squeeze(0).permute(1, 2, 0).clamp(0, 255)
    assert float((mean - mean.floor() - 0.5).abs().min()) > 1e-5  # float32 cannot fall on the other side of a half
    sr = super_resolve(network, lr, self_ensemble=True)
    np.testing.assert_array_equal(sr, mean.round().numpy().astype(np.uint8))
    assert not np.array_equal(sr, super_resolve(network, lr))
    rounded_first = torch.stack(outputs).clamp(0, 255).round().mean(0).squeeze(0).permute(1, 2, 0).round()
    assert not np.array_equal(sr, rounded_first.numpy().astype(np.uint8))


def test_a_network_that_gives_nan_is_an_error() -> None:
    with pytest.raises(NumericalError, match=r"NaN or infinity for a picture of 4x5 \(HxW\)"):
        super_resolve(lambda x: x * float("nan"), noise(4, 5))


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        # 10 grey levels of 255 wrong everywhere: 20 log10(255 / 10). Luma of BT.601 studio range: 219/255 of that.
        ("paper-div2k", 28.1308),
        ("paper-y", 29.4527),
    ],
)
def test_psnr_is_counted_under_the_protocol(protocol: str, expected: float) -> None:
    lr = np.full((20, 20, 3), 100, np.uint8)
    hr = np.full((40, 40, 3), 110, np.uint8)
    hr[:2], hr[:, -2:] = 0, 255  # shaved by both protocols at scale 2
    (score,) = evaluate(Nearest(), [Pair("flat", lr, hr)], 2, PROTOCOLS[protocol])
    assert score.name == "flat"
    assert score.psnr == pytest.approx(expected, abs=1e-4)
    assert 0.98 < score.ssim < 1


def test_a_picture_too_small_to_be_scored_is_named() -> None:
    pair = Pair("icon", np.zeros((7, 9, 3), np.uint8), np.zeros((14, 18, 3), np.uint8))
    with pytest.raises(ShapeError, match="icon: SSIM needs at least 11 pixels"):
        list(evaluate(Nearest(), [pair], 2, PROTOCOLS["paper-y"]))


def test_bicubic_is_scored_beside_the_network() -> None:
    lr = noise(20, 24)
    pair = Pair("upscaled", lr, np.asarray(imresize(lr, 2)))
    (score,) = evaluate_bicubic([pair], 2, PROTOCOLS["paper-y"])
    assert (score.name, score.psnr) == ("upscaled", float("inf"))


def test_means_are_over_pictures() -> None:
    lr = [np.full((12, 12, 3), value, np.uint8) for value in (100, 105)]
    pairs = [Pair(str(i), picture, np.full((36, 36, 3), 110, np.uint8)) for i, picture in enumerate(lr)]
    scores = list(evaluate(Nearest(), pairs, 3, PROTOCOLS["paper-div2k"]))
    assert mean_psnr(scores) == pytest.approx((28.1308 + 34.1514) / 2, abs=1e-4)
    assert mean_ssim(scores) == pytest.approx((scores[0].ssim + scores[1].ssim) / 2)


def test_mdsr_is_evaluated_at_the_scale_that_was_asked_for() -> None:
    torch.manual_seed(0)
    mdsr = MDSR(MDSRConfig(n_resblocks=1, n_feats=8))
    lr = noise(9, 8)
    with torch.no_grad():
        sr = mdsr(torch.from_numpy(lr).permute(2, 0, 1).unsqueeze(0).float(), 3)
    hr = sr.squeeze(0).permute(1, 2, 0).clamp(0, 255).round().to(torch.uint8).numpy()
    (score,) = evaluate(mdsr, [Pair("own output", lr, hr)], 3, PROTOCOLS["paper-y"])
    assert score.psnr == float("inf")
