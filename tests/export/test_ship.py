"""The models that come with the package are what their checkpoints export to."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edsr_export import ship
from edsr_export.exporting import export_checkpoint
from edsr_export.verify import TOLERANCES, compare, shapes_to_compare
from edsr_runtime.contract import Contract, read_contract
from edsr_runtime.errors import GateError
from edsr_runtime.zoo import shipped_models
from edsr_train.checkpoint import load_network, save_checkpoint
from tiny_networks import tiny_edsr

FILES = [
    (name, scale, precision)
    for name, precisions in ship.SHIPPED.items()
    for scale in load_network(ship.CHECKPOINTS / f"{name}.safetensors").network.scales
    for precision in precisions
]


def shipped_path(name: str, scale: int, precision: str) -> Path:
    head = "" if name.endswith(f"_x{scale}") else f"_x{scale}"  # of a network with several
    return ship.MODELS / f"{name}{head}{'_fp16' if precision == 'fp16' else ''}.onnx"


def compare_with_checkpoint(file: Path, checkpoint: Path) -> Contract:
    """The contract of a file that computes what a checkpoint computes."""
    loaded, contract = load_network(checkpoint), read_contract(file)
    assert contract.source_sha256 == loaded.sha256, f"{checkpoint.name} has changed: make models"
    network = loaded.network.branch(contract.scale).eval()
    shapes = shapes_to_compare(contract.min_side)
    compare(onnx.load(file), network, uint8=False, tolerance=TOLERANCES[contract.precision], shapes=shapes)
    return contract


def test_all_models_that_ship_are_made_by_one_command() -> None:
    there = {model.path for precision in ("fp32", "fp16") for model in shipped_models(precision)}
    assert there == {shipped_path(*file) for file in FILES} == set(ship.MODELS.glob("*.onnx"))


@pytest.mark.parametrize(("name", "scale", "precision"), FILES)
def test_a_shipped_model_computes_what_its_checkpoint_computes(name: str, scale: int, precision: str) -> None:
    contract = compare_with_checkpoint(shipped_path(name, scale, precision), ship.CHECKPOINTS / f"{name}.safetensors")
    assert (contract.scale, contract.precision) == (scale, precision)
    assert (contract.io, contract.self_ensemble) == ("float", False)


def test_all_that_is_shipped_is_below_25_megabytes() -> None:
    package = [path for folder in ("models", "demo") for path in (ship.MODELS.parent / folder).iterdir()]
    assert sum(path.stat().st_size for path in package) < 25e6


def test_every_checkpoint_has_a_card_that_names_it() -> None:
    table = (ship.CHECKPOINTS / "README.md").read_text(encoding="utf-8")
    for checkpoint in ship.CHECKPOINTS.glob("*.safetensors"):
        ships = checkpoint.stem in ship.SHIPPED
        card = (ship.MODELS if ships else ship.CHECKPOINTS) / f"{re.sub(r'_x[234]$', '', checkpoint.stem)}.md"
        assert (f"{checkpoint.stem}.onnx" if ships else checkpoint.name) in card.read_text(encoding="utf-8")
        assert f"`{checkpoint.name}`" in table


@pytest.mark.slow
def test_a_checkpoint_that_does_not_ship_can_be_exported(tmp_path: Path) -> None:
    others = [each for each in ship.CHECKPOINTS.glob("*.safetensors") if each.stem not in ship.SHIPPED]
    exported = [each.contract for checkpoint in others for each in export_checkpoint(checkpoint, tmp_path)]
    assert [(each.architecture, each.scale) for each in exported] == [("mdsr", 2), ("mdsr", 3), ("mdsr", 4)]


def test_a_model_of_other_weights_is_noticed(tmp_path: Path) -> None:
    name = "edsr-small_x4"
    loaded = load_network(ship.CHECKPOINTS / f"{name}.safetensors")
    with pytest.raises(AssertionError, match=r"other\.pt has changed: make models"):
        save_checkpoint(tmp_path / "other.pt", tiny_edsr(4))
        compare_with_checkpoint(shipped_path(name, 4, "fp32"), tmp_path / "other.pt")
    model = onnx.load(shipped_path(name, 4, "fp32"))
    weights = max(model.graph.initializer, key=lambda initializer: len(initializer.raw_data))
    values = onnx.numpy_helper.to_array(weights).copy()
    values.flat[0] += 0.01
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    network = loaded.network.branch(4).eval()
    with pytest.raises(GateError):
        compare(model, network, uint8=False, tolerance=TOLERANCES["fp32"], shapes=shapes_to_compare(1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ship.SHIPPED)
def test_a_new_export_gives_the_same_numbers(name: str, tmp_path: Path) -> None:
    lr = np.random.default_rng(0).uniform(0, 255, (1, 3, 21, 34)).astype(np.float32)

    def output(path: Path) -> np.ndarray:
        return np.asarray(ort.InferenceSession(path).run(None, {"input": lr})[0])

    for exported in ship.export(name, tmp_path):
        old = ship.MODELS / exported.path.name
        np.testing.assert_array_equal(output(exported.path), output(old))
        parity, version = exported.contract.parity, exported.contract.tool_version  # may change with PyTorch and ours
        assert exported.contract == dataclasses.replace(read_contract(old), parity=parity, tool_version=version)
