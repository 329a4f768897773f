"""Shipped models are found by name and scale."""

from pathlib import Path

import pytest

from edsr_runtime import zoo
from edsr_runtime.errors import ModelFileError
from edsr_runtime.zoo import ShippedModel, model_path, shipped_models


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the package's."""
    monkeypatch.setattr(zoo, "_FOLDER", tmp_path)
    return tmp_path


def test_files_are_models_by_their_names(folder: Path) -> None:
    for name in ("edsr-small_x4.onnx", "edsr-small_x2.onnx", "my_x2_net_x3.onnx", "edsr-small_x2.md", "scaleless.onnx"):
        (folder / name).touch()
    assert shipped_models() == [
        ShippedModel("edsr-small", 2, folder / "edsr-small_x2.onnx"),
        ShippedModel("edsr-small", 4, folder / "edsr-small_x4.onnx"),
        ShippedModel("my_x2_net", 3, folder / "my_x2_net_x3.onnx"),
    ]
    assert model_path("edsr-small", 4) == folder / "edsr-small_x4.onnx"


@pytest.mark.parametrize(("name", "scale"), [("edsr-small", 3), ("edsr", 2)])
def test_a_model_that_is_not_there_is_refused_with_what_is(folder: Path, name: str, scale: int) -> None:
    (folder / "edsr-small_x2.onnx").touch()
    sentence = (
        rf"^no model {name} x{scale} comes with the package \(there are: edsr-small x2\)\. Pass a file with -m\.$"
    )
    with pytest.raises(ModelFileError, match=sentence):
        model_path(name, scale)


def test_fp16_files_are_models_of_their_own_that_only_tensorrt_asks_for(folder: Path) -> None:
    for name in ("edsr-small_x4.onnx", "edsr-small_x4_fp16.onnx", "edsr-small_x2.onnx"):
        (folder / name).touch()
    assert [model.path.name for model in shipped_models()] == ["edsr-small_x2.onnx", "edsr-small_x4.onnx"]
    assert shipped_models("fp16") == [ShippedModel("edsr-small", 4, folder / "edsr-small_x4_fp16.onnx", "fp16")]
    assert model_path("edsr-small", 4, "fp16") == folder / "edsr-small_x4_fp16.onnx"
    with pytest.raises(ModelFileError, match=r"^no FP16 model edsr-small x2 comes .*\(there are: edsr-small x4\)"):
        model_path("edsr-small", 2, "fp16")


def test_an_installation_without_models_says_so(folder: Path) -> None:
    folder.rmdir()
    assert shipped_models() == []
    with pytest.raises(ModelFileError, match=r"\(there are: none\)"):
        model_path("edsr-small", 2)
