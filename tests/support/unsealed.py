"""Models without their seal, for tests that change them."""

from pathlib import Path

import onnx

from edsr_runtime.seal import SEAL_KEY


def unsealed(path: Path) -> onnx.ModelProto:
    """A file of edsr-export, whose seal would tell of every change."""
    model = onnx.load(path)
    entries = [entry for entry in model.metadata_props if entry.key == SEAL_KEY.decode()]
    assert len(entries) == 1, "edsr-export seals what it writes"
    model.metadata_props.remove(entries[0])
    return model
