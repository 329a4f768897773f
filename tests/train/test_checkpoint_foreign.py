"""Checkpoints of other projects compute here what they compute there.

The files are made by renaming the tensors of tiny networks to each project's names; the references compute from the
file's own keys in that project's convention, with functional convolutions in float64.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from edsr_runtime.errors import CheckpointError
from edsr_train.checkpoint import load_network
from edsr_train.models import EDSR, MDSR, EDSRConfig, MDSRConfig

State = dict[str, Tensor]
DIV2K_MEAN = torch.tensor([0.4488, 0.4371, 0.4040], dtype=torch.float64).view(1, 3, 1, 1)
GREY_LEVELS = 1e-3  # float32 against float64 on outputs of a few hundred


def random_state(network: torch.nn.Module) -> State:
    """Weights large enough that blocks, biases and mean shift all matter, in the names of the authors."""
    generator = torch.Generator().manual_seed(3)
    state = {}
    for key, value in network.state_dict().items():
        fan_in = max(1, value[0].numel())
        state[key] = torch.randn(value.shape, generator=generator) * (fan_in**-0.5 if value.dim() > 1 else 0.3)
    state["sub_mean.bias"] = torch.tensor([-114.0, -111.0, -103.0])
    state["add_mean.bias"] = torch.tensor([115.0, 112.0, 104.0])
    return state


def edsr_state(scale: int, n_resblocks: int = 2, n_feats: int = 8) -> State:
    return random_state(EDSR(EDSRConfig(scale, n_resblocks, n_feats)))


def mdsr_state() -> State:
    return random_state(MDSR(MDSRConfig((2, 3, 4), n_resblocks=2, n_feats=8)))


def to_basicsr(state: State) -> State:
    """The names of BasicSR; the mean shift is not stored there."""
    renamed = {}
    last = max(int(key.split(".")[1]) for key in state if key.startswith("body."))
    for key, value in state.items():
        if "_mean" in key:
            continue
        for ours, theirs in (
            (r"^head\.0\.", "conv_first."),
            (rf"^body\.{last}\.", "conv_after_body."),
            (r"^body\.(\d+)\.body\.0\.", r"body.\1.conv1."),
            (r"^body\.(\d+)\.body\.2\.", r"body.\1.conv2."),
            (r"^tail\.0\.", "upsample."),
            (r"^tail\.1\.", "conv_last."),
        ):
            key = re.sub(ours, theirs, key)
        renamed[key] = value
    return renamed


def to_mmagic(state: State) -> State:
    """The names of mmagic: as BasicSR's, but the upsampler's convolutions are numbered without the pixel shuffles."""
    number = {"0": "0", "2": "1"}
    return {
        re.sub(r"^upsample\.(\d)\.", lambda match: f"upsample.{number[match[1]]}.upsample_conv.", key): value
        for key, value in to_basicsr(state).items()
    }


def conv(state: State, name: str, x: Tensor) -> Tensor:
    weight, bias = state[f"{name}.weight"].double(), state[f"{name}.bias"].double()
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def framework_body(state: State, x: Tensor, res_scale: float, steps: list[str]) -> Tensor:
    """conv_first to conv_last, which BasicSR and mmagic have in common."""
    x = conv(state, "conv_first", x)
    res = x
    for block in range(sum(bool(re.fullmatch(r"body\.\d+\.conv1\.weight", key)) for key in state)):
        res = res + res_scale * conv(state, f"body.{block}.conv2", conv(state, f"body.{block}.conv1", res).relu())
    x = x + conv(state, "conv_after_body", res)
    for step in steps:
        x = conv(state, step, x)
        x = F.pixel_shuffle(x, 3 if x.shape[1] % 9 == 0 else 2)
    return conv(state, "conv_last", x)


def basicsr(state: State, x: Tensor, res_scale: float) -> Tensor:
    """0..1 in and out; inside, 0..255 around the mean."""
    steps = [key.removesuffix(".weight") for key in state if re.fullmatch(r"upsample\.\d\.weight", key)]
    return framework_body(state, (x - DIV2K_MEAN) * 255, res_scale, steps) / 255 + DIV2K_MEAN


def mmagic(state: State, x: Tensor, res_scale: float) -> Tensor:
    """0..1 in, out and inside."""
    steps = [key.removesuffix(".weight") for key in state if re.fullmatch(r"upsample\.\d\.upsample_conv\.weight", key)]
    return framework_body(state, x - DIV2K_MEAN, res_scale, steps) + DIV2K_MEAN


def authors(state: State, x: Tensor, res_scale: float, branch: int | None = None) -> Tensor:
    """EDSR, or MDSR's branch; the range is what the stored mean shift is made for."""

    def block(name: str, x: Tensor, scale: float) -> Tensor:
        return x + scale * conv(state, f"{name}.body.2", conv(state, f"{name}.body.0", x).relu())

    def upsample(name: str, x: Tensor) -> Tensor:
        for key in [key for key in state if re.fullmatch(rf"{re.escape(name)}\.\d\.weight", key)]:
            x = conv(state, key.removesuffix(".weight"), x)
            x = F.pixel_shuffle(x, 3 if x.shape[1] % 9 == 0 else 2)
        return x

    x = conv(state, "head.0", conv(state, "sub_mean", x))
    if branch is not None:
        for index in range(2):
            x = block(f"pre_process.{branch}.{index}", x, 1.0)
    last = max(int(key.split(".")[1]) for key in state if key.startswith("body."))
    res = x
    for index in range(last):
        res = block(f"body.{index}", res, res_scale)
    x = x + conv(state, f"body.{last}", res)
    if branch is None:
        x = conv(state, "tail.1", upsample("tail.0", x))
    else:
        x = conv(state, "tail.0", upsample(f"upsample.{branch}", x))
    return conv(state, "add_mean", x)


def picture() -> Tensor:
    """LR in 0..1, float64."""
    return torch.rand(1, 3, 6, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def assert_same_grey_levels(ours: Tensor, reference: Tensor) -> None:
    assert reference.std() > 10  # the test means something
    torch.testing.assert_close(ours.double(), reference, rtol=0, atol=GREY_LEVELS)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("res_scale", [1.0, 0.1])
@pytest.mark.parametrize(
    ("layout", "rename", "reference"),
    [("basicsr", to_basicsr, basicsr), ("mmagic", to_mmagic, mmagic)],
    ids=["basicsr", "mmagic"],
)
def test_an_edsr_of_a_framework_for_0_to_1_computes_the_same_on_0_to_255(
    tmp_path: Path,
    scale: int,
    res_scale: float,
    layout: str,
    rename: Callable[[State], State],
    reference: Callable[[State, Tensor, float], Tensor],
) -> None:
    state = rename(edsr_state(scale))
    torch.save({"params": state} if layout == "basicsr" else {"state_dict": state, "meta": {}}, tmp_path / "net.pth")
    loaded = load_network(tmp_path / "net.pth", res_scale=res_scale)
    assert (loaded.layout, loaded.config) == (layout, EDSRConfig(scale, 2, 8, res_scale))
    with torch.no_grad():
        ours = loaded.network((picture() * 255).float())
    assert_same_grey_levels(ours, reference(state, picture(), res_scale) * 255)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("res_scale", [1.0, 0.1])
def test_the_authors_edsr_computes_the_same_with_the_stored_mean_shift(
    tmp_path: Path, scale: int, res_scale: float
) -> None:
    state = edsr_state(scale)
    torch.save(state, tmp_path / "net.pt")
    loaded = load_network(tmp_path / "net.pt", res_scale=res_scale)
    assert (loaded.layout, loaded.config) == ("edsr-pytorch", EDSRConfig(scale, 2, 8, res_scale))
    assert "mean shift: 114.00, 111.00, 103.00 of 255, as in the file" in loaded.notes
    with torch.no_grad():
        ours = loaded.network((picture() * 255).float())
    assert_same_grey_levels(ours, authors(state, picture() * 255, res_scale))


@pytest.mark.parametrize("branch", [0, 1, 2])
def test_the_authors_mdsr_computes_the_same_without_flags(tmp_path: Path, branch: int) -> None:
    state = mdsr_state()
    torch.save(state, tmp_path / "net.pt")
    loaded = load_network(tmp_path / "net.pt")
    assert (loaded.architecture, loaded.layout) == ("mdsr", "edsr-pytorch")
    assert loaded.config == MDSRConfig((2, 3, 4), 2, 8, 1.0)
    assert "residual scaling: 1 (the published MDSR has none)" in loaded.notes
    with torch.no_grad():
        ours = loaded.network((picture() * 255).float(), scale=branch + 2)
    assert_same_grey_levels(ours, authors(state, picture() * 255, 1.0, branch))


def test_the_authors_network_for_0_to_1_is_recognised_by_its_mean_shift(tmp_path: Path) -> None:
    state = edsr_state(2)
    state["sub_mean.bias"] = -DIV2K_MEAN.flatten().float()
    state["add_mean.bias"] = DIV2K_MEAN.flatten().float()
    torch.save(state, tmp_path / "net.pt")
    loaded = load_network(tmp_path / "net.pt", res_scale=1.0)
    assert any(note.startswith("pixel range: 0..1 by its mean shift") for note in loaded.notes)
    with torch.no_grad():
        ours = loaded.network((picture() * 255).float())
    assert_same_grey_levels(ours, authors(state, picture(), 1.0) * 255)


def test_a_mean_shift_of_zero_stays_zero(tmp_path: Path) -> None:
    state = {**edsr_state(2), "sub_mean.bias": torch.zeros(3), "add_mean.bias": torch.zeros(3)}
    torch.save(state, tmp_path / "net.pt")
    loaded = load_network(tmp_path / "net.pt", res_scale=1.0)
    assert "mean shift: none (zeros in the file)" in loaded.notes
    with torch.no_grad():
        ours = loaded.network((picture() * 255).float())
    assert_same_grey_levels(ours, authors(state, picture() * 255, 1.0))


def published_size(n_resblocks: int, n_feats: int) -> State:
    """All tensors of an EDSR x2 as views of one storage of zeros: megabytes in the file instead of 160 of them."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in EDSR(EDSRConfig(2, n_resblocks, n_feats)).state_dict().items()}
    storage = torch.zeros(max(shape.numel() for shape in shapes.values()))
    return {key: storage[: shape.numel()].view(shape) for key, shape in shapes.items()}


@pytest.mark.parametrize(
    ("n_resblocks", "n_feats", "expected", "note"),
    [
        (16, 64, 1.0, "residual scaling: 1 (16 blocks of 64 feature maps is the published baseline)"),
        (32, 256, 0.1, "residual scaling: 0.1 (32 blocks of 256 feature maps is the published EDSR)"),
    ],
)
def test_residual_scaling_of_the_published_sizes_is_known(
    tmp_path: Path, n_resblocks: int, n_feats: int, expected: float, note: str
) -> None:
    torch.save(published_size(n_resblocks, n_feats), tmp_path / "net.pt")
    loaded = load_network(tmp_path / "net.pt")
    assert loaded.config == EDSRConfig(2, n_resblocks, n_feats, expected)
    assert note in loaded.notes


def test_a_given_residual_scaling_wins_over_the_published_one_and_is_said(tmp_path: Path) -> None:
    torch.save(published_size(16, 64), tmp_path / "net.pt")
    loaded = load_network(tmp_path / "net.pt", res_scale=0.1)
    assert loaded.config == EDSRConfig(2, 16, 64, 0.1)
    assert loaded.notes[0] == (
        "residual scaling: 0.1, as given, against 1: 16 blocks of 64 feature maps is the published baseline"
    )


@pytest.mark.parametrize("rename", [dict, to_basicsr, to_mmagic], ids=["edsr-pytorch", "basicsr", "mmagic"])
def test_residual_scaling_of_other_sizes_must_be_given(tmp_path: Path, rename: Callable[[State], State]) -> None:
    torch.save(rename(edsr_state(4, n_resblocks=3)), tmp_path / "edsr_x4.pt")
    with pytest.raises(CheckpointError) as refused:
        load_network(tmp_path / "edsr_x4.pt")
    assert str(refused.value) == (
        f"{tmp_path / 'edsr_x4.pt'}: EDSR x4, 3 blocks of 8 feature maps, and no stored configuration, so residual "
        "scaling is unknown. Pass --res-scale 1 (or 0.1 if it was trained with it)"
    )


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_residual_scaling_must_be_a_positive_number(tmp_path: Path, wrong: float) -> None:
    torch.save(edsr_state(2), tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match="expected a positive number such as 1 or"):
        load_network(tmp_path / "net.pt", res_scale=wrong)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
        lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": s, "epoch": 300, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}},
        lambda s: {"model": {"state_dict": {f"model.{k}": v for k, v in s.items()}}, "args": {"scale": [2]}},
        lambda s: {"net": s, "best": 37.5},
        lambda s: {"epoch": 3, **s},
    ],
    ids=["plain", "module", "orig_mod", "both", "state_dict", "nested", "net", "beside"],
)
def test_wrappers_are_taken_off(tmp_path: Path, wrap: Callable[[State], State]) -> None:
    state = edsr_state(2)
    torch.save(wrap(state), tmp_path / "net.pt")
    loaded = load_network(tmp_path / "net.pt", res_scale=1.0)
    assert all(torch.equal(value, state[key]) for key, value in loaded.network.state_dict().items())


def test_the_averaged_copy_is_preferred_and_said(tmp_path: Path) -> None:
    raw, averaged = to_basicsr(edsr_state(2)), to_basicsr({k: v + 1 for k, v in edsr_state(2).items()})
    torch.save({"params": raw, "params_ema": averaged}, tmp_path / "net.pth")
    loaded = load_network(tmp_path / "net.pth", res_scale=1.0)
    assert torch.equal(loaded.network.state_dict()["head.0.weight"], averaged["conv_first.weight"])
    assert loaded.notes[0] == "weights: the averaged copy, params_ema (params is left aside)"


def test_mmengine_keeps_its_averaged_weights_in_state_dict(tmp_path: Path) -> None:
    averaged = {f"generator.{k}": v for k, v in to_mmagic(edsr_state(2)).items()}
    torch.save({"state_dict": averaged, "ema_state_dict": {k: v + 1 for k, v in averaged.items()}}, tmp_path / "n.pth")
    loaded = load_network(tmp_path / "n.pth", res_scale=1.0)
    assert torch.equal(loaded.network.state_dict()["head.0.weight"], averaged["generator.conv_first.weight"])


def test_a_generator_is_found_beside_other_networks_and_said(tmp_path: Path) -> None:
    state = {f"generator.{key}": value for key, value in to_mmagic(edsr_state(4)).items()}
    torch.save({"state_dict": {"step_counter": torch.zeros(1), **state}}, tmp_path / "net.pth")
    loaded = load_network(tmp_path / "net.pth", res_scale=1.0)
    assert (loaded.layout, loaded.config) == ("mmagic", EDSRConfig(4, 2, 8))
    assert loaded.notes[0] == "weights: those under generator. (step_counter left aside)"


def test_safetensors_of_others_are_read_too(tmp_path: Path) -> None:
    state = edsr_state(3)
    safetensors.torch.save_file(state, tmp_path / "net.safetensors", {"format": "pt"})
    loaded = load_network(tmp_path / "net.safetensors", res_scale=1.0)
    assert torch.equal(loaded.network.state_dict()["tail.0.0.weight"], state["tail.0.0.weight"])


def test_files_of_the_old_pytorch_format_are_read(tmp_path: Path) -> None:
    state = edsr_state(3)
    torch.save(state, tmp_path / "net.pt", _use_new_zipfile_serialization=False)
    loaded = load_network(tmp_path / "net.pt", res_scale=1.0)
    assert torch.equal(loaded.network.state_dict()["tail.0.0.weight"], state["tail.0.0.weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted_and_said(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {key: value.to(dtype) for key, value in edsr_state(2).items()}
    torch.save(state, tmp_path / "net.pt")
    loaded = load_network(tmp_path / "net.pt", res_scale=1.0)
    converted = loaded.network.state_dict()["head.0.weight"]
    assert converted.dtype == torch.float32
    assert torch.equal(converted, state["head.0.weight"].float())
    assert f"precision: {str(dtype).removeprefix('torch.')} in the file, computed in float32" in loaded.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head.0.bias": torch.full((8,), float("inf"))}, r"head\.0\.bias holds NaN or infinity"),
        ({"head.0.bias": torch.full((8,), 1e300, dtype=torch.float64)}, r"head\.0\.bias holds NaN or infinity"),
        ({"head.0.bias": torch.zeros(8, dtype=torch.int8)}, r"head\.0\.bias holds int8\. Weights in float32, float16"),
        ({"head.0.weight": torch.zeros(1).expand(8, 3, 3, 3)}, r"head\.0\.weight claims 216 values, the file holds 1"),
        ({"head.0.weight": torch.zeros(8, 1, 3, 3)}, r"a network for 1 colour channel \(head\.0\.weight is 8x1x3x3\)"),
        ({"head.0.weight": torch.zeros(8, 6, 3, 3)}, r"a network for 6 input channels"),
        ({"head.0.weight": torch.zeros(8)}, r"head\.0\.weight has the shape 8, expected a convolution's weight"),
        ({"head.0.weight": torch.zeros(0, 3, 3, 3)}, r"head\.0\.weight has the shape 0x3x3x3"),
        ({"head.0.weight": torch.zeros(8, 3, 5, 5)}, r"head\.0\.weight is 8x3x5x5, expected 8x3x3x3"),
        ({"tail.1.weight": torch.zeros(1, 8, 3, 3)}, r"tail\.1\.weight is 1x8x3x3, expected 3x8x3x3"),
        ({"tail.0.0.weight": torch.zeros(40, 8, 3, 3)}, r"40 output channels, expected 4 or 9 times the 8 feature"),
        ({"tail.0.2.weight": torch.zeros(72, 8, 3, 3)}, r"the network upscales by 2 x 3\. The scales 2, 3 and 4"),
        ({"body.999999999.body.0.weight": torch.zeros(8, 8, 3, 3)}, r"unexpected: .*body\.999999999\.body\.0\.weight"),
        ({"sub_mean.bias": None}, r"missing: sub_mean\.bias"),
        ({"head.0.weight": None}, r"head\.0\.weight is missing"),
        ({"body.1.body.2.weight": None, "body.1.body.2.bias": None}, r"missing: body\.1\.body\.2\.weight, body\.1"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Tensor | None], message: str) -> None:
    changed = {**edsr_state(2), **change}
    torch.save({key: value for key, value in changed.items() if value is not None}, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=message):
        load_network(tmp_path / "net.pt", res_scale=1.0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"entry.weight": torch.zeros(3), "exit.weight": torch.zeros(3)}, r"\(2 tensors, the first: entry\.weight, "),
        ({"epoch": 3}, "holds no tensors under names"),
        ([torch.zeros(3)], "holds no tensors under names"),
        ({"tail.0.weight": torch.zeros(12, 8, 5, 5), "head.0.weight": torch.zeros(8, 3, 3, 3)}, "no network that is"),
    ],
    ids=["another network", "nothing", "a list", "direct tail without our description"],
)
def test_an_unknown_layout_lists_the_known_ones(tmp_path: Path, value: object, message: str) -> None:
    torch.save(value, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=message) as refused:
        load_network(tmp_path / "net.pt")
    assert "edsr (edsr-toolkit, edsr-pytorch, basicsr, mmagic); mdsr (edsr-toolkit, edsr-pytorch)" in str(refused.value)
