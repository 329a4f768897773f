"""The configuration of a run: names, YAML and options give the same thing, and nothing unknown gets in."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import click
import pytest

from edsr_runtime.errors import EdsrError
from edsr_train.architectures.registry import ARCHITECTURES
from edsr_train.config import DataConfig, TrainConfig
from edsr_train.models import (
    CARNConfig,
    EDSRConfig,
    ESPCNConfig,
    FSRCNNConfig,
    LESRCNNConfig,
    MDSRConfig,
    SRCNNConfig,
    SRResNetConfig,
    VDSRConfig,
)
from edsr_train.models.branch import NetworkConfig
from edsr_train.options import Integer
from edsr_train.recipes import RECIPES
from edsr_train.run_config import Asked, RunConfig, parse, read_base, with_asked

SCALE_2 = {"net.scale": Asked("--scale 2", 2)}


def parsed(name_or_file: str, **asked: Any) -> RunConfig:
    given = {name.replace("net_", "net."): Asked(f"--{name} {value}", value) for name, value in asked.items()}
    return parse(with_asked(read_base(name_or_file), given), name_or_file)


def has_one_scale(name: str) -> bool:
    (architecture,) = (known for known in ARCHITECTURES if known.name == RECIPES[name].architecture)
    return "scale" in architecture.config_type.__dataclass_fields__


def yaml_file(tmp_path: Path, text: str) -> str:
    (tmp_path / "run.yaml").write_text(text)
    return str(tmp_path / "run.yaml")


def test_names_are_the_networks_of_the_paper() -> None:
    # arXiv:1707.02921, table 1; parameters of these are tested with the networks
    assert parsed("edsr-baseline", net_scale=2).network == EDSRConfig(2, n_resblocks=16, n_feats=64, res_scale=1)
    assert parsed("edsr", net_scale=4).network == EDSRConfig(4, n_resblocks=32, n_feats=256, res_scale=0.1)
    assert parsed("mdsr-baseline").network == MDSRConfig((2, 3, 4), n_resblocks=16, n_feats=64)
    assert parsed("mdsr").network == MDSRConfig((2, 3, 4), n_resblocks=80, n_feats=64)
    assert parsed("edsr-small", net_scale=3).network == EDSRConfig(3, n_resblocks=5, n_feats=64, tail="direct")


@pytest.mark.parametrize("name", ["edsr-baseline", "edsr", "mdsr-baseline", "mdsr"])
def test_networks_of_the_paper_are_trained_as_in_the_paper(name: str) -> None:
    assert RECIPES[name].training == TrainConfig()


FIELD: dict[str, NetworkConfig] = {
    "srresnet": SRResNetConfig(2, n_resblocks=16, n_feats=64, form="reproduced"),
    "srresnet-original": SRResNetConfig(2, n_resblocks=16, n_feats=64, form="original"),
    "srcnn": SRCNNConfig(2, kernels=(9, 5, 5), n_feats=(64, 32), colors="y"),
    "srcnn-915": SRCNNConfig(2, kernels=(9, 1, 5), n_feats=(64, 32), colors="y"),
    "espcn": ESPCNConfig(2, n_feats=(64, 32), colors="y"),
    "fsrcnn": FSRCNNConfig(2, n_feats=56, n_shrunk=12, n_layers=4, colors="y"),
    "vdsr": VDSRConfig((2, 3, 4), n_layers=20, n_feats=64, colors="y"),
    "carn": CARNConfig((2, 3, 4), n_feats=64, groups=1),
    "carn-m": CARNConfig((2, 3, 4), n_feats=64, groups=4),
    "lesrcnn": LESRCNNConfig((2,), n_feats=64),
    "lesrcnn-s": LESRCNNConfig((2, 3, 4), n_feats=64),
    "lesrcnn-wide": LESRCNNConfig((2,), n_feats=64, n_refine=109),
    "lesrcnn-ieeb": LESRCNNConfig((2,), n_feats=64, reconstruct=False, refine=False),
    "lesrcnn-ieeb-rb": LESRCNNConfig((2,), n_feats=64, reconstruct=True, refine=False),
}
"""Sizes as in the papers that the networks' modules name."""


def test_names_of_the_field_are_the_networks_of_their_papers() -> None:
    ours = {"edsr-baseline", "edsr", "mdsr-baseline", "mdsr", "edsr-small"}
    assert FIELD.keys() == RECIPES.keys() - ours
    for name, network in FIELD.items():
        assert parsed(name, **({"net_scale": 2} if has_one_scale(name) else {})).network == network


@pytest.mark.parametrize("name", [name for name in FIELD if name.startswith("lesrcnn")])
def test_lesrcnn_and_its_ablations_are_trained_as_published(name: str) -> None:
    # Tian et al., arXiv:2007.04344, section 4.2
    training = RECIPES[name].training
    assert training == TrainConfig(patch=64, batch=64, updates=600_000, loss="half-mse", halve_every=400_000)
    assert [training.lr_at(update) for update in (0, 399_999, 400_000, 799_999)] == [1e-4, 1e-4, 5e-5, 5e-5]


def test_lesrcnn_is_for_any_of_the_scales() -> None:
    assert parsed("lesrcnn", **{"net_scales": (4,)}).network == LESRCNNConfig((4,))


def test_srresnet_is_trained_with_l2_or_l1() -> None:
    # Lim et al., arXiv:1707.02921, table 2, has both
    assert parsed("srresnet", net_scale=2).training == TrainConfig(loss="mse")
    assert parsed("srresnet", net_scale=2, loss="l1").training == TrainConfig(loss="l1")
    assert parsed("srresnet-original", net_scale=4).training.loss == "mse"


@pytest.mark.parametrize("name", RECIPES)
def test_the_printed_configuration_is_a_file_that_means_the_same(tmp_path: Path, name: str) -> None:
    asked: dict[str, Any] = {"net_scale": 3} if has_one_scale(name) else {}
    config = parsed(name, **asked, data=("a b", "c"), lr=2e-5, rescale=(0.8, 0.6), val="801-810", compile=True)
    assert parse(read_base(yaml_file(tmp_path, config.to_yaml()))) == config
    assert config.training.lr == 2e-5
    assert config.data.data == ("a b", "c")


@pytest.mark.parametrize(
    "name", ["smile \U0001f600", r"\ud83d\ude00", "\udcff", "two\nlines", "\x85\u2028\ufeff\x7f", '"#: ']
)
def test_every_name_of_a_file_comes_back_from_the_printed_configuration(tmp_path: Path, name: str) -> None:
    config = parsed("edsr-baseline", net_scale=2, data=(name,))
    assert parse(read_base(yaml_file(tmp_path, config.to_yaml()))).data.data == (name,)


def test_a_configuration_is_read_from_a_pipe_too() -> None:
    text = parsed("edsr-baseline", net_scale=2, lr=2e-5).to_yaml()
    read, write = os.pipe()
    with os.fdopen(read) as pipe:
        with os.fdopen(write, "w") as file:
            file.write(text)
        assert parse(read_base(f"/dev/fd/{pipe.fileno()}")).training.lr == 2e-5


def test_the_printed_configuration_explains_every_option() -> None:
    text = parsed("edsr-baseline", net_scale=2).to_yaml()
    for field in (*dataclasses.fields(TrainConfig), *dataclasses.fields(DataConfig)):
        assert f"  # {field.metadata['help']}" in text


def test_a_file_says_only_what_differs_from_the_paper(tmp_path: Path) -> None:
    path = yaml_file(tmp_path, "network: {architecture: edsr, scale: 2}\ntraining:\n  lr: 1e-3\n  batch: 4\n")
    config = parse(read_base(path))
    assert config.network == EDSRConfig(2)
    assert config.training == TrainConfig(lr=1e-3, batch=4)
    assert config.data == DataConfig()


def test_one_value_is_a_list_and_a_float_without_a_fraction_a_whole_number(tmp_path: Path) -> None:
    data = "data: {data: photographs, train: 7, rescale: 0.8, val: 801}\n"
    path = yaml_file(tmp_path, "network: {architecture: mdsr, scales: 3}\ntraining: {updates: 3e5, lr: 1}\n" + data)
    config = parse(read_base(path))
    assert config.network == MDSRConfig((3,))
    assert (config.training.updates, type(config.training.updates), config.training.lr) == (300_000, int, 1)
    assert config.data == DataConfig(("photographs",), ("7",), rescale=(0.8,), val="801")


@pytest.mark.parametrize(("text", "number"), [("300000", 300_000), ("3e5", 300_000), ("300_000", 300_000), ("-1", -1)])
def test_whole_numbers_are_taken_as_people_write_them(text: str, number: int) -> None:
    found = Integer().convert(text, None, None)
    assert (found, type(found)) == (number, int)


@pytest.mark.parametrize("text", ["1.5", "inf", "nan", "many", "1e400"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a whole number, such as 1000 or 1e3"):
        Integer().convert(text, None, None)


def test_the_home_may_be_written_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "Set5").mkdir()
    config = DataConfig(data=("~/photographs",), val="~/Set5", cache="~/cache").with_absolute_paths()
    assert config.data == (f"{tmp_path}/photographs",)
    assert (config.val, config.cache) == (f"{tmp_path}/Set5", f"{tmp_path}/cache")


def test_options_win_over_the_file(tmp_path: Path) -> None:
    path = yaml_file(tmp_path, "network: {architecture: edsr, scale: 2}\ntraining: {lr: 1e-3, batch: 4}\n")
    config = parsed(path, lr=5e-4, net_scale=4)
    assert (config.training.lr, config.training.batch, config.network) == (5e-4, 4, EDSRConfig(4))


EDSR_X2 = "network: {architecture: edsr, scale: 2}\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (EDSR_X2 + "trainning: {lr: 1}", r"unknown section trainning. Did you mean training\?"),
        (EDSR_X2 + "training: {learning_rate: 1}", "training: unknown key learning_rate. "),
        (EDSR_X2 + "training: {updats: 1}", r"training: unknown key updats. Did you mean updates\?"),
        ("network: {architecture: edsr, scale: 2, blocks: 3}", "network: unknown key blocks. "),
        (
            "network: {architecture: mdsr, scale: 2}",
            r"scale is 2, but this network has a list of scales. Leave --scale away, or .*: --net 'scales=\[2\]'",
        ),
        ("network: {architecture: edsr, scale: 5}", "network.scale is 5, expected of 2, 3, 4"),
        ("network: {architecture: mdsr, scales: [2, 2]}", r"network.scales is \(2, 2\), expected of 2, 3, 4"),
        ("network: {architecture: edsr, scale: 2, n_feats: 0}", "network.n_feats is 0, expected a positive number"),
        ("network: {architecture: edsr, scale: 2, res_scale: .nan}", "network.res_scale is nan, expected a finite"),
        ("network: {architecture: edsr}", "--scale is missing: give 2, 3 or 4"),
        ("network: {architecture: ersd, scale: 2}", "network.architecture is 'ersd', expected one of edsr, mdsr"),
        ("training: {lr: 1}", "network.architecture is None, expected one of edsr"),
        (EDSR_X2 + "training: {lr: fast}", "training.lr = 'fast', expected float"),
        (EDSR_X2 + "training: {schedule: linear}", "training.schedule = 'linear', expected halving or cosine"),
        (EDSR_X2 + "training: {lr: -1}", "the learning rate is -1"),
        (EDSR_X2 + "training: {lr: 1, lr: 2}", 'line 2: found duplicate key "lr"'),
        (EDSR_X2 + "training: [1]", r"training is \[1\], expected keys with values"),
        (EDSR_X2 + "data: {data: {a: b}}", "data.data = .*, expected a list of str"),
        (EDSR_X2 + "data: {data: ['']}", "--data is given nothing"),
        (EDSR_X2 + "data: {val: ' '}", "--val is given nothing"),
        (EDSR_X2 + "training: {updates: 1.5}", "training.updates = 1.5, expected int"),
        (EDSR_X2 + "training: {seed: 18446744073709551616}", "the seed is 18446744073709551616, expected 0 to 184467"),
        ("network: {architecture: edsr, scale: 2, n_feats: 4097}", "n_feats is 4097, expected at most 4096"),
        (EDSR_X2 + "data: {data: [a], train: [1-8, all]}", "--train is given 2 times and --data 1 times"),
        (EDSR_X2 + "data: {rescale: [1.5]}", "rescale is 1.5, expected a factor from 0.05 to below 1"),
        ("network: {", "line 1: "),
        ("just text", "expected the sections network, training, data. --print-config shows"),
        ("", "expected the sections"),
        ("a: \x00", "is no YAML"),
    ],
)
def test_files_that_cannot_be_used_are_refused_with_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = yaml_file(tmp_path, text)
    with pytest.raises(EdsrError, match=sentence) as caught:
        parse(read_base(path), path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["trainning: {lr: 0.5}", "foo: 7"])
def test_unknown_sections_of_a_file_are_refused_before_options_are_applied(tmp_path: Path, text: str) -> None:
    path = yaml_file(tmp_path, EDSR_X2 + text)
    with pytest.raises(EdsrError, match="unknown section"):
        parsed(path, lr=1e-3)


def test_neither_a_name_nor_a_file_is_refused() -> None:
    with pytest.raises(EdsrError, match="--config edsr-basline: neither a file nor one of edsr-baseline, edsr, mdsr"):
        read_base("edsr-basline")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(EdsrError, match="is no text in UTF-8"):
        read_base(str(tmp_path / "run.yaml"))


def test_an_unknown_field_of_the_network_is_refused() -> None:
    with pytest.raises(EdsrError, match=r"unknown key n_feat. Did you mean n_feats\?"):
        parsed("edsr-baseline", net_scale=2, net_n_feat=8)
