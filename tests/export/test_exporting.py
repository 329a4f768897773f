from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from click.testing import CliRunner

from edsr_export import exporting, tail
from edsr_export.cli import main
from edsr_export.exporting import ExportOptions, export_checkpoint
from edsr_export.verify import ensemble
from edsr_runtime.contract import read_contract
from edsr_runtime.errors import EdsrError, GateError
from edsr_train.checkpoint import save_checkpoint
from tiny_networks import tiny_edsr, tiny_mdsr


def run_onnx(path: Path, lr: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (sr,) = session.run(None, {"input": lr})
    return np.asarray(sr)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(3, 3), (3, 10), (31, 18)])
def test_onnx_equals_pytorch_at_every_pixel_of_unseen_sizes(
    tmp_path: Path, onnx_of_scale: dict[int, Path], scale: int, size: tuple[int, int]
) -> None:
    lr = np.random.default_rng(1).uniform(0, 255, (2, 3, *size)).astype(np.float32)
    with torch.no_grad():
        expected = tiny_edsr(scale)(torch.from_numpy(lr)).numpy()
    np.testing.assert_allclose(run_onnx(onnx_of_scale[scale], lr), expected, atol=1e-3, rtol=0)  # grey levels of 255


@pytest.fixture(scope="session")
def onnx_of_scale(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("scales")
    files = {}
    for scale in (2, 3, 4):
        save_checkpoint(folder / f"edsr_x{scale}.pt", tiny_edsr(scale))
        (exported,) = export_checkpoint(folder / f"edsr_x{scale}.pt")
        files[scale] = exported.path
    return files


def test_axes_are_symbolic_and_nothing_of_this_machine_is_left(onnx_of_scale: dict[int, Path]) -> None:
    model = onnx.load(onnx_of_scale[3])
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.output]
    assert dims == [["batch", 3, "3*height", "3*width"]]
    assert {n.op_type for n in model.graph.node} <= {"Conv", "Relu", "Add", "Sub", "DepthToSpace", "Slice", "Concat"}
    data = onnx_of_scale[3].read_bytes()
    assert b"/" not in b"".join(bytes(n.SerializeToString()) for n in model.graph.node)
    assert str(Path.home()).encode() not in data and b"site-packages" not in data


def test_the_same_checkpoint_gives_the_same_bytes(edsr_checkpoint: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a.onnx", tmp_path / "b.onnx"
    for path in (first, second):
        export_checkpoint(edsr_checkpoint, path)
    assert first.read_bytes() == second.read_bytes()


def test_the_contract_says_how_to_run_the_file(edsr_checkpoint: Path) -> None:
    (exported,) = export_checkpoint(edsr_checkpoint)
    contract = read_contract(exported.path)
    assert contract == exported.contract
    assert (contract.architecture, contract.scale, contract.min_side, contract.io) == ("edsr", 2, 3, "float")
    assert contract.receptive_radius == 1 + 4 + 1 + 2  # head, two blocks, last of the body, tail
    assert contract.config == {"scale": 2, "n_resblocks": 2, "n_feats": 8, "res_scale": 0.5, "tail": "paper"}
    assert 0 < contract.parity.max_difference < 1e-3
    assert len(contract.parity.shapes) >= 3


def test_mdsr_gives_one_file_per_head_with_only_that_head(mdsr_checkpoint: Path) -> None:
    exported = export_checkpoint(mdsr_checkpoint)
    assert [e.path.name for e in exported] == ["mdsr_x2.onnx", "mdsr_x3.onnx", "mdsr_x4.onnx"]
    lr = np.random.default_rng(1).uniform(0, 255, (1, 3, 9, 11)).astype(np.float32)
    for each, scale in zip(exported, (2, 3, 4), strict=True):
        with torch.no_grad():
            expected = tiny_mdsr()(torch.from_numpy(lr), scale).numpy()
        np.testing.assert_allclose(run_onnx(each.path, lr), expected, atol=1e-3, rtol=0)
    heads = {e.path.name: len(onnx.load(e.path).graph.initializer) for e in exported}
    assert len(set(heads.values())) == 1  # nothing of the other scales


def test_scale_selects_heads(mdsr_checkpoint: Path, tmp_path: Path) -> None:
    exported = export_checkpoint(mdsr_checkpoint, tmp_path / "one.onnx", ExportOptions(scales=(3,)))
    assert [(e.path.name, e.contract.scale) for e in exported] == [("one.onnx", 3)]
    with pytest.raises(EdsrError, match="no head for scale 8, only for 2, 3, 4"):
        export_checkpoint(mdsr_checkpoint, options=ExportOptions(scales=(8,)))
    with pytest.raises(EdsrError, match="is one file for 3 scales"):
        export_checkpoint(mdsr_checkpoint, tmp_path / "all.onnx")


VARIANTS = [
    ExportOptions(precision="fp16"),
    ExportOptions(io="uint8"),
    ExportOptions(precision="fp16", collapse_tail=False),
    ExportOptions(opset=18),
    ExportOptions(opset=25),
]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: f"{o.suffix or 'fp32'}-opset{o.opset}-{o.collapse_tail}")
def test_every_variant_passes_the_full_check_and_builds_in_tensorrt(
    edsr_checkpoint: Path, options: ExportOptions
) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (Linux x86-64 only)")
    (exported,) = export_checkpoint(edsr_checkpoint, options=options, overwrite=True)
    assert exported.path.name == f"edsr_x2{options.suffix}.onnx"
    model = onnx.load(exported.path)
    onnx.checker.check_model(model, full_check=True)
    assert {o.domain: o.version for o in model.opset_import} == {"": options.opset}
    assert build_in_tensorrt(trt, exported.path.read_bytes(), options.io == "uint8") > 10_000


def build_in_tensorrt(trt: Any, onnx_bytes: bytes, uint8: bool) -> int:
    """Parse and build ahead of time, which needs no GPU; size of the engine in bytes."""
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(onnx_bytes), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    profile = builder.create_optimization_profile()
    shapes = [(1, 3, 8, 8), (1, 3, 64, 64), (2, 3, 128, 96)]
    profile.set_shape("input", *[(n, h, w, c) if uint8 else (n, c, h, w) for n, c, h, w in shapes])
    config = builder.create_builder_config()
    assert config.add_optimization_profile(profile) >= 0
    engine = builder.build_serialized_network(network, config)
    assert engine is not None
    return len(bytes(engine))


@pytest.mark.parametrize("scale", [3, 4])
def test_collapsed_fp16_builds_in_tensorrt_at_the_other_scales(tmp_path: Path, scale: int) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (Linux x86-64 only)")
    save_checkpoint(tmp_path / "edsr.pt", tiny_edsr(scale))
    (exported,) = export_checkpoint(tmp_path / "edsr.pt", options=ExportOptions(precision="fp16"))
    assert build_in_tensorrt(trt, exported.path.read_bytes(), uint8=False) > 10_000


def test_fp16_is_fp16_but_for_the_ends(edsr_checkpoint: Path) -> None:
    (exported,) = export_checkpoint(edsr_checkpoint, options=ExportOptions(precision="fp16"))
    model = onnx.load(exported.path)
    types = {i.name: i.data_type for i in model.graph.initializer}
    weights = [types[n.input[1]] for n in model.graph.node if n.op_type == "Conv"]
    assert set(weights) == {onnx.TensorProto.FLOAT16}
    assert model.graph.node[-1].op_type == "Add"
    assert types[model.graph.node[-1].input[1]] == onnx.TensorProto.FLOAT
    assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_self_ensemble_inside_is_the_mean_of_eight_views(edsr_checkpoint: Path) -> None:
    (exported,) = export_checkpoint(edsr_checkpoint, options=ExportOptions(self_ensemble=True))
    lr = np.random.default_rng(2).integers(0, 256, (1, 3, 6, 9)).astype(np.float32)
    with torch.no_grad():
        expected = ensemble(tiny_edsr(), torch.from_numpy(lr)).numpy()
    np.testing.assert_allclose(run_onnx(exported.path, lr), expected, atol=1e-3, rtol=0)


def test_uncollapsed_files_take_a_side_of_one(edsr_checkpoint: Path) -> None:
    (exported,) = export_checkpoint(edsr_checkpoint, options=ExportOptions(collapse_tail=False))
    assert exported.contract.min_side == 1
    lr = np.full((1, 3, 1, 2), 100, np.float32)
    with torch.no_grad():
        expected = tiny_edsr()(torch.from_numpy(lr)).numpy()
    np.testing.assert_allclose(run_onnx(exported.path, lr), expected, atol=1e-3, rtol=0)


def test_a_wrong_fold_is_found_and_nothing_is_written(
    edsr_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = tail._response

    def wrong(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
        kernel, bias = right(*arguments)
        return kernel * (0.99 if arguments[-2:] == ("first", "last") else 1), bias  # one corner of nine regions

    monkeypatch.setattr(tail, "_response", wrong)
    output = tmp_path / "out"
    with pytest.raises(GateError, match=r"grey levels \(allowed 0.001\) at channel ., row [01], column [45]"):
        export_checkpoint(edsr_checkpoint, output)
    assert not output.exists()
    result = CliRunner().invoke(main, ["--ckpt", str(edsr_checkpoint), "-o", str(output)])
    assert result.exit_code == 5
    assert "Nothing was written" in result.stderr
    assert not output.exists()


def test_an_existing_file_is_kept_unless_forced(edsr_checkpoint: Path) -> None:
    target = edsr_checkpoint.with_suffix(".onnx")
    target.write_bytes(b"precious")
    with pytest.raises(EdsrError, match="exists: pass --force"):
        export_checkpoint(edsr_checkpoint)
    assert target.read_bytes() == b"precious"
    export_checkpoint(edsr_checkpoint, overwrite=True)
    assert read_contract(target).scale == 2


def test_nothing_is_left_when_writing_fails(
    edsr_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(EdsrError, match="cannot be written \\(No space left on device\\)"):
        export_checkpoint(edsr_checkpoint, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_weights_beyond_fp16_are_refused(tmp_path: Path) -> None:
    network = tiny_edsr()
    with torch.no_grad():
        network.get_parameter("body.0.body.0.weight")[0, 0, 0, 0] = 1e5
    save_checkpoint(tmp_path / "big.pt", network)
    with pytest.raises(GateError, match="beyond 65504"):
        export_checkpoint(tmp_path / "big.pt", options=ExportOptions(precision="fp16"))


def test_the_command_prints_what_was_done(edsr_checkpoint: Path) -> None:
    result = CliRunner().invoke(main, ["--ckpt", str(edsr_checkpoint)])
    assert result.exit_code == 0, result.output
    for text in (
        "folded: residual scaling 0.5",
        "Mult-Adds at HR 1280x720",
        "parity with PyTorch",
        "receptive radius: 8",
    ):
        assert text in result.output


def test_an_unknown_opset_is_refused(edsr_checkpoint: Path) -> None:
    result = CliRunner().invoke(main, ["--ckpt", str(edsr_checkpoint), "--opset", "12"])
    assert result.exit_code == 2
    assert "opset is 12, expected 18 to 25" in result.stderr


def test_exporting_names_variants() -> None:
    assert exporting.ExportOptions(precision="fp16", io="uint8", self_ensemble=True).suffix == "_fp16_u8_plus"
