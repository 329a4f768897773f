"""Our own checkpoints: what is saved comes back, and nothing is half-written."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn

from edsr_runtime.errors import CheckpointError
from edsr_train.checkpoint import load_network, save_checkpoint
from edsr_train.models import EDSR, MDSR, EDSRConfig, MDSRConfig

CONFIGS = [
    EDSRConfig(scale=2, n_resblocks=2, n_feats=8, res_scale=0.1),
    EDSRConfig(scale=3, n_resblocks=1, n_feats=8),
    EDSRConfig(scale=4, n_resblocks=1, n_feats=4, tail="direct"),
    MDSRConfig(n_resblocks=2, n_feats=8, res_scale=0.5),
    MDSRConfig(scales=(4, 2), n_resblocks=1, n_feats=8),
]


def tiny(config: EDSRConfig | MDSRConfig) -> EDSR | MDSR:
    torch.manual_seed(0)
    return EDSR(config) if isinstance(config, EDSRConfig) else MDSR(config)


def run(network: nn.Module, config: EDSRConfig | MDSRConfig, scale: int | None) -> torch.Tensor:
    lr = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(1)) * 255
    with torch.no_grad():
        return network(lr) if isinstance(config, EDSRConfig) else network(lr, scale)


def stored(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_saved_network_comes_back_with_its_configuration(
    tmp_path: Path, config: EDSRConfig | MDSRConfig, suffix: str
) -> None:
    network = tiny(config)
    path = tmp_path / f"net{suffix}"
    save_checkpoint(path, network)
    loaded = load_network(path)
    assert (loaded.config, loaded.network.config) == (config, config)
    assert (loaded.architecture, loaded.layout, loaded.notes) == (
        "edsr" if isinstance(config, EDSRConfig) else "mdsr",
        "edsr-toolkit",
        (),
    )
    assert not loaded.network.training
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for scale in getattr(config, "scales", (None,)):
        assert torch.equal(run(loaded.network, config, scale), run(network, config, scale))


def test_what_must_not_be_trained_stays_frozen_after_loading(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "net.pt", tiny(CONFIGS[0]))
    network = load_network(tmp_path / "net.pt").network
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen == {"sub_mean.weight", "sub_mean.bias", "add_mean.weight", "add_mean.bias"}


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "net.pt", tiny(CONFIGS[0]))
    before = torch.get_rng_state()
    load_network(tmp_path / "net.pt")
    assert torch.equal(torch.get_rng_state(), before)


def test_training_state_comes_back(tmp_path: Path) -> None:
    network = tiny(CONFIGS[0])
    optimizer = torch.optim.Adam(p for p in network.parameters() if p.requires_grad)
    network(torch.rand(1, 3, 4, 4)).sum().backward()
    optimizer.step()
    training = {
        "update": 7,
        "weights": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "big": (2**127, None, True, b"\x00\xff", "PSNR 37.5"),
    }
    save_checkpoint(tmp_path / "net.pt", network, {"training": training})
    extra = load_network(tmp_path / "net.pt").extra
    assert list(extra) == ["training"]
    back = extra["training"]
    assert (back["update"], back["big"]) == (7, training["big"])
    assert torch.equal(back["random"], training["random"])
    assert all(torch.equal(value, back["weights"][key]) for key, value in network.state_dict().items())
    first = optimizer.state_dict()["state"][0]["exp_avg"]
    assert first.abs().max() > 0
    assert torch.equal(back["optimizer"]["state"][0]["exp_avg"], first)


def test_loaded_tensors_do_not_change_with_the_file(tmp_path: Path) -> None:
    network = tiny(CONFIGS[0])
    path = tmp_path / "net.pt"
    save_checkpoint(path, network, {"kept": torch.arange(2000.0)})
    loaded = load_network(path)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert torch.equal(loaded.network.state_dict()["head.0.weight"], network.state_dict()["head.0.weight"])
    assert torch.equal(loaded.extra["kept"], torch.arange(2000.0))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_same_network_gives_the_same_bytes_under_any_name(tmp_path: Path, suffix: str) -> None:
    names = [f"{number}{suffix}" for number in range(8)]  # by chance, two could be equal
    for name in names:
        save_checkpoint(tmp_path / name, tiny(CONFIGS[0]), {"note": {"psnr": 37.5, "steps": [1, 2]}})
    assert len({(tmp_path / name).read_bytes() for name in names}) == 1


def test_safetensors_files_describe_themselves_in_json(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "net.safetensors", tiny(CONFIGS[3]), {"card": {"psnr_y": 30.5}})
    with safetensors.safe_open(tmp_path / "net.safetensors", "pt") as file:
        described = json.loads(file.metadata()["edsr-toolkit"])
    assert described["config"] == {"scales": [2, 3, 4], "n_resblocks": 2, "n_feats": 8, "res_scale": 0.5}
    assert (described["architecture"], described["version"], described["card"]) == ("mdsr", 1, {"psnr_y": 30.5})
    assert load_network(tmp_path / "net.safetensors").extra == {"card": {"psnr_y": 30.5}}


@pytest.mark.parametrize("what", ["weights", "description"])
def test_a_bit_that_flipped_in_safetensors_is_noticed(tmp_path: Path, what: str) -> None:
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, tiny(CONFIGS[3]))
    content = bytearray(path.read_bytes())
    where = len(content) - 2 if what == "weights" else content.index(b"0.5")
    content[where] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"net\.safetensors: its checksum is not that of what is in it"):
        load_network(path)


def test_safetensors_of_before_there_were_checksums_are_read(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "net.safetensors", tiny(CONFIGS[3]))
    with safetensors.safe_open(tmp_path / "net.safetensors", "pt") as file:
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = {"edsr-toolkit": file.metadata()["edsr-toolkit"]}
    safetensors.torch.save_file(weights, tmp_path / "old.safetensors", metadata)
    assert load_network(tmp_path / "old.safetensors").config == CONFIGS[3]


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.pt"
    save_checkpoint(path, tiny(CONFIGS[0]))
    before = path.read_bytes()

    def full_disk(_: object, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, tiny(CONFIGS[1]))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_broken_weights_are_not_written(tmp_path: Path) -> None:
    network = tiny(CONFIGS[0])
    with torch.no_grad():
        network.get_parameter("body.0.body.2.bias")[3] = float("nan")
    with pytest.raises(CheckpointError, match=r"body\.0\.body\.2\.bias holds NaN or infinity, so nothing was written"):
        save_checkpoint(tmp_path / "net.pt", network)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("suffix", "extra", "message"),
    [
        (".pt", {"training": {"path": Path("x")}}, r"training\['path'\] \(a PosixPath\) cannot be kept"),
        (".pt", {"best": [1.0, torch.nn.Linear(1, 1)]}, r"best\[1\] \(a Linear\) cannot be kept"),
        (".safetensors", {"training": {"lr": torch.zeros(1)}}, r"training\['lr'\] \(a Tensor\) cannot be kept"),
        (".safetensors", {"training": {3: 1}}, r"training \(a dict with the key 3\) cannot be kept"),
    ],
)
def test_what_could_not_be_loaded_again_is_not_saved(
    tmp_path: Path, suffix: str, extra: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        save_checkpoint(tmp_path / f"net{suffix}", tiny(CONFIGS[0]), extra)
    assert not list(tmp_path.iterdir())


def test_an_unknown_suffix_is_refused_when_saving(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"ends in \.pt, \.pth, \.safetensors, not in \.ckpt"):
        save_checkpoint(tmp_path / "net.ckpt", tiny(CONFIGS[0]))


def test_stored_residual_scaling_may_be_confirmed_but_not_contradicted(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "net.pt", tiny(CONFIGS[0]))
    assert load_network(tmp_path / "net.pt", res_scale=0.1).config == CONFIGS[0]
    with pytest.raises(CheckpointError, match=r"stores residual scaling 0\.1, and --res-scale 1 contradicts it"):
        load_network(tmp_path / "net.pt", res_scale=1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, r"is of version 2 of our format, this program knows 1\. Update it"),
        ({"architecture": "vit"}, r"holds the network 'vit', this program knows edsr, mdsr"),
        ({"config": None}, "its configuration is missing"),
        ({"state_dict": None}, "its state_dict is missing"),
        ({"state_dict": {"head": 3}}, "its state_dict holds 'head', which is no tensor"),
    ],
)
def test_a_damaged_description_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "net.pt"
    save_checkpoint(path, tiny(CONFIGS[0]))
    torch.save({**stored(path), **change}, path)
    with pytest.raises(CheckpointError, match=f"net.pt: {message}"):
        load_network(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_feats": 16}, r"does not fit its weights: .*n_feats=16.* the tensors are of .*n_feats=8"),
        ({"n_resblocks": 10**9}, r"does not fit its weights"),  # refused before a billion blocks are built
        ({"n_resblocks": "2"}, r"says n_resblocks = '2', expected int"),
        ({"tail": "other"}, r"says tail = 'other'"),
        ({"res_scale": float("nan")}, r"residual scaling is nan, expected a positive number"),
        ({"depth": 2}, r"differs from the one known here in: depth"),
    ],
)
def test_a_configuration_that_is_not_of_these_weights_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "net.pt"
    save_checkpoint(path, tiny(CONFIGS[0]))
    whole = stored(path)
    torch.save({**whole, "config": {**whole["config"], **change}}, path)
    with pytest.raises(CheckpointError, match=message):
        load_network(path)


def test_keys_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    save_checkpoint(path, tiny(CONFIGS[0]))
    whole = stored(path)
    state = whole["state_dict"]
    for key in [key for key in state if key.endswith(".bias") and key.startswith("body")]:
        del state[key]
    state["body.0.body.1.running_mean"] = torch.zeros(8)
    state["tail.1.weight"] = torch.zeros(3, 8, 5, 5)
    torch.save(whole, path)
    with pytest.raises(CheckpointError) as refused:
        load_network(path)
    assert str(refused.value) == (
        f"{path}: does not fit EDSR x2, 2 blocks of 8 feature maps, in the layout edsr-toolkit: "
        "missing: body.0.body.0.bias, body.0.body.2.bias, body.1.body.0.bias and 2 more; "
        "unexpected: body.0.body.1.running_mean; wrong shape: tail.1.weight is 3x8x5x5, expected 3x8x3x3"
    )


def test_every_configuration_field_is_stored(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "net.pt", tiny(CONFIGS[0]))
    assert stored(tmp_path / "net.pt")["config"] == dataclasses.asdict(CONFIGS[0])


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_in_half_kernels_are_rounded_to_fp16_and_all_else_is_kept(tmp_path: Path, suffix: str) -> None:
    network = tiny(CONFIGS[0])
    save_checkpoint(tmp_path / f"whole{suffix}", network)
    save_checkpoint(tmp_path / f"half{suffix}", network, half=True)
    loaded = load_network(tmp_path / f"half{suffix}")
    assert loaded.config == CONFIGS[0]
    assert loaded.notes == ("precision: float16 in the file, computed in float32",)
    for key, value in loaded.network.state_dict().items():
        whole = network.state_dict()[key]
        assert torch.equal(value, whole.half().float() if whole.ndim == 4 else whole), key
    mean = loaded.network.get_parameter("sub_mean.bias")
    assert not torch.equal(mean, mean.half().float())
    assert (tmp_path / f"half{suffix}").stat().st_size < (tmp_path / f"whole{suffix}").stat().st_size


def test_kernels_beyond_fp16_are_not_rounded_to_infinity(tmp_path: Path) -> None:
    network = tiny(CONFIGS[0])
    with torch.no_grad():
        network.get_parameter("head.0.weight")[0, 0, 0, 0] = 70000.0
    with pytest.raises(CheckpointError, match=r"head\.0\.weight has values beyond 65504, FP16's largest"):
        save_checkpoint(tmp_path / "net.pt", network, half=True)
    assert not list(tmp_path.iterdir())
