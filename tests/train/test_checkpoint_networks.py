"""Checkpoints of the other networks: ours come back, those of others are known by their keys, the rest is named."""

from pathlib import Path
from typing import Any

import pytest
import torch

from edsr_runtime.errors import CheckpointError
from edsr_runtime.metrics import PROTOCOLS
from edsr_train.architectures.registry import ARCHITECTURES
from edsr_train.checkpoint import load_network, save_checkpoint
from edsr_train.data.sets import benchmark_pairs
from edsr_train.evaluate import evaluate, mean_psnr
from edsr_train.models import CARNConfig, LESRCNNConfig, SRCNNConfig, VDSRConfig
from tiny_field import FIELD, tiny


def picture() -> torch.Tensor:
    return torch.rand(1, 3, 5, 6, generator=torch.Generator().manual_seed(2)) * 255


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("name", FIELD)
def test_a_saved_network_comes_back_with_its_configuration(tmp_path: Path, name: str, suffix: str) -> None:
    network = tiny(name, 3)
    save_checkpoint(tmp_path / f"net{suffix}", network)
    loaded = load_network(tmp_path / f"net{suffix}")
    assert (loaded.config, loaded.layout, loaded.notes) == (network.config, "edsr-toolkit", ())
    assert loaded.network.scales == network.scales
    with torch.no_grad():
        for scale in network.scales:
            assert torch.equal(loaded.network.branch(scale)(picture()), network.branch(scale)(picture()))


LAYOUTS = {
    "srcnn": "srcnn-pytorch",
    "vdsr": "pytorch-vdsr",
    "espcn": "espcn-pytorch",
    "fsrcnn": "fsrcnn-pytorch",
    "srresnet": "plain",
    "carn": "carn-pytorch",
    "lesrcnn": "lesrcnn",
}
SAID = {"srcnn-rgb": {"pixel_range": 1.0}, "lesrcnn-ieeb": {"reconstruct": True}, "vdsr": {"scales": (2, 3, 4)}}
"""What the weights do not show, where the networks of the tests are not the published ones."""


@pytest.mark.parametrize("name", FIELD)
def test_a_state_dict_alone_is_known_by_its_keys(tmp_path: Path, name: str) -> None:
    network = tiny(name, 3)
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, tmp_path / "net.pth")
    loaded = load_network(tmp_path / "net.pth", scale=3)
    unseen = SAID.get(name, SAID.get(name.partition("-")[0], {}) if name.startswith("vdsr") else {})
    assert loaded.config == type(network.config)(**{**vars(network.config), **unseen})
    assert loaded.layout == LAYOUTS[loaded.architecture]
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in loaded.network.state_dict().items())
    if "pixel_range" in vars(loaded.config):
        assert any(note.startswith("pixel range: 0..1 inside") for note in loaded.notes)


@pytest.mark.parametrize("name", ["srcnn", "fsrcnn"])
def test_a_scale_that_the_weights_do_not_show_is_asked_for(tmp_path: Path, name: str) -> None:
    torch.save(tiny(name, 4).state_dict(), tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=f"{name.upper()}, whose weights do not show the scale.* Pass --scale 2"):
        load_network(tmp_path / "net.pth")
    assert load_network(tmp_path / "net.pth", scale=4).network.scales == (4,)


def test_vdsr_of_others_is_for_the_published_scales(tmp_path: Path) -> None:
    torch.save(tiny("vdsr").state_dict(), tmp_path / "net.pth")
    loaded = load_network(tmp_path / "net.pth")
    assert loaded.config == VDSRConfig((2, 3, 4), n_layers=4, n_feats=8)
    assert loaded.notes[0].startswith("scales: 2, 3 and 4, as the published network was trained for")


def test_scales_are_kept_in_the_order_that_checkpoints_show() -> None:
    assert CARNConfig((4, 2)).scales == LESRCNNConfig((4, 2)).scales == (2, 4)


def unknown(tmp_path: Path, keys: list[str]) -> str:
    torch.save({key: torch.zeros(3, 3, 3, 3) for key in keys}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError) as refused:
        load_network(tmp_path / "net.pth")
    return str(refused.value)


def test_an_unknown_layout_lists_the_known_ones_and_the_nearest(tmp_path: Path) -> None:
    # a CARN whose author renamed both ends
    keys = [key.replace("entry", "first").replace("exit", "last") for key in tiny("carn").state_dict()]
    sentence = unknown(tmp_path, keys)
    for architecture in ARCHITECTURES:
        assert f"{architecture.name} (edsr-toolkit, " in sentence
    assert ". The nearest is carn (edsr-toolkit), of whose " in sentence
    assert sentence.endswith("are there; entry.weight, entry.bias and more would belong to it")


def test_where_nothing_is_alike_nothing_is_near(tmp_path: Path) -> None:
    assert unknown(tmp_path, ["transformer.blocks"]).endswith("None of them has a key like these")


def test_one_key_too_few_is_named(tmp_path: Path) -> None:
    state = {key: value for key, value in tiny("lesrcnn").state_dict().items() if key != "conv18.0.weight"}
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"does not fit LESRCNN x2, .*: missing: conv18\.0\.weight"):
        load_network(tmp_path / "net.pth")


def test_a_head_of_another_scale_than_its_name_is_refused(tmp_path: Path) -> None:
    state = tiny("carn").state_dict()
    state["upsample.up3.body.0.weight"] = state["upsample.up2.body.0.weight"]
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"upsample\.up3 upscales by 2, which contradicts its name"):
        load_network(tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kernels": [9, 4, 5]}, "kernels is"),
        ({"pixel_range": 0.0}, "pixel_range is 0, expected a positive number"),
        ({"n_feats": [8]}, "n_feats is"),
        ({"n_feats": [8, 7]}, "does not fit its weights"),
        ({"colors": "rgb"}, "does not fit its weights"),
    ],
)
def test_a_configuration_that_cannot_be_is_one_sentence(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    path = tmp_path / "net.pt"
    save_checkpoint(path, tiny("srcnn"))
    stored = torch.load(path, weights_only=True)
    torch.save({**stored, "config": {**stored["config"], **change}}, path)
    with pytest.raises(CheckpointError, match=f"net.pt: its configuration .*{sentence}"):
        load_network(path)


def test_the_scale_of_our_own_checkpoint_is_stored(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "net.pt", tiny("srcnn", 4))
    assert load_network(tmp_path / "net.pt").config == SRCNNConfig(4, n_feats=(8, 6))


# Set5, paper-y, dB, two decimals: measured with the authors' own programs; see the README beside the weights.
MEASURED = [("carn_m/carn_m.pth", 4, 31.88), ("lesrcnn/lesrcnn_x4.pth", 4, 31.92)]
MEASURED_SLOWLY = [
    ("carn_m/carn_m.pth", 2, 37.68),
    ("carn_m/carn_m.pth", 3, 34.06),
    ("lesrcnn/lesrcnn_x2.pth", 2, 37.80),
]


@pytest.mark.parametrize(
    ("file", "scale", "psnr"), [*MEASURED, *(pytest.param(*row, marks=pytest.mark.slow) for row in MEASURED_SLOWLY)]
)
def test_weights_of_the_authors_give_the_psnr_that_was_measured(
    data_root: Path, file: str, scale: int, psnr: float
) -> None:
    loaded = load_network(data_root / "weights" / file)
    pairs = benchmark_pairs(data_root / "benchmark" / "Set5", scale)
    scores = list(evaluate(loaded.network, pairs, scale, PROTOCOLS["paper-y"]))
    assert mean_psnr(scores) == pytest.approx(psnr, abs=0.01)
