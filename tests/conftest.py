"""What all tests share: the benchmark data, and hypothesis examples that are the same in every run."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: the machines differ too much. The same examples everywhere, so that a failure here is one there;
# `pytest --hypothesis-profile explore` looks for new ones.
settings.register_profile("fixed", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("fixed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for the data carries the marker for it; the tests of training come first.

    Some of those raise SIGINT in this process, as Ctrl-C does. After everything that the other tests load (OpenVINO,
    onnxruntime, TensorRT-RTX and PyTorch's tracer in one process, which no command of ours does) that ends in a
    segmentation fault; none of the four does so alone.
    """
    items.sort(key=lambda item: "train" not in item.path.parts)
    for item in items:
        if "data_root" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.data)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that EDSR_DATA names: ``benchmark/<Set>/HR/<name>.png``,
    ``benchmark/<Set>/LR_bicubic/X<scale>/<name>x<scale>.png`` and ``weights/``."""
    value = os.environ.get("EDSR_DATA")
    if not value:
        pytest.skip("EDSR_DATA is unset: no benchmark pictures and weights")
    root = Path(value).resolve()
    if not (root / "benchmark").is_dir():
        pytest.fail(f"EDSR_DATA is {value}, but there is no folder {root / 'benchmark'}")
    return root


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The folder with pyproject.toml, README.md and the three components."""
    return Path(__file__).resolve().parent.parent
