"""A folder of its own for the engines of every test, and TensorRT-RTX where it is installed."""

from pathlib import Path

import pytest

from edsr_runtime.errors import EdsrError
from edsr_runtime.trt.flavour import Flavour, load_flavour
from edsr_runtime.trt.folder import engine_folder


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where engines are kept; it does not exist yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return engine_folder()


@pytest.fixture(scope="session")
def rtx() -> Flavour:
    """TensorRT-RTX, which builds without a GPU."""
    try:
        return load_flavour("rtx")
    except EdsrError as err:
        pytest.skip(str(err))
