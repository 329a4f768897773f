"""A PyTorch module as an ONNX graph with symbolic batch, height and width, and nothing of this machine in it."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import onnx
import torch
from onnx import ModelProto, helper
from torch import Tensor, nn

from edsr_runtime.errors import GateError
from edsr_runtime.model_check import OPERATORS

OPSETS = range(18, 26)
DEFAULT_OPSET = 20  # PyTorch's own default; TensorRT 11 reads 9..25, and no operator used here changed after 19
_EXAMPLE_SIDE = 12  # any size will do: the graph does not depend on it


def to_onnx(module: nn.Module, *, uint8: bool, min_side: int, scale: int, opset: int = DEFAULT_OPSET) -> ModelProto:
    """Export ``module`` and strip paths, stack traces and descriptions.

    Args:
        module: takes and gives one tensor, (N, 3, H, W) float32, or (N, H, W, 3) uint8 if ``uint8``.
        uint8: which of the two.
        min_side: smallest height and width.
        scale: enlargement, checked against the graph's output.
        opset: 18 to 25.

    Raises:
        GateError: the graph has an operator outside the known set, or a dimension that is not symbolic.
    """
    height, width = (1, 2) if uint8 else (2, 3)
    example: Tensor
    if uint8:
        example = torch.zeros(2, _EXAMPLE_SIDE, _EXAMPLE_SIDE + 2, 3, dtype=torch.uint8)
    else:
        example = torch.zeros(2, 3, _EXAMPLE_SIDE, _EXAMPLE_SIDE + 2)
    dims: dict[int, Any] = {
        0: torch.export.Dim("batch"),
        height: torch.export.Dim("height", min=min_side),
        width: torch.export.Dim("width", min=min_side),
    }
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=(dims,),
            input_names=["input"],
            output_names=["output"],
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _strip(model)
    _check(model, height, width, scale)
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports missing optional packages and its own progress; neither is of use to a user of ours."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _strip(model: ModelProto) -> None:
    graph = model.graph
    for item in [model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        item.ClearField("doc_string")
        if hasattr(item, "metadata_props"):
            del item.metadata_props[:]
    del graph.value_info[:]
    graph.name = "super-resolution"
    model.producer_name, model.producer_version = "edsr-toolkit", ""
    opsets = {o.domain: o.version for o in model.opset_import}
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opsets[""]))


def _check(model: ModelProto, height: int, width: int, scale: int) -> None:
    unknown = sorted({n.op_type for n in model.graph.node} - OPERATORS)
    if unknown:
        raise GateError(
            f"the graph has the operators {', '.join(unknown)}, which nobody has proven. Nothing was written."
        )
    for value, factor in ((model.graph.input[0], ""), (model.graph.output[0], f"{scale}*" if scale > 1 else "")):
        dims = value.type.tensor_type.shape.dim
        found = [dims[0].dim_param, dims[height].dim_param, dims[width].dim_param]
        if found != ["batch", f"{factor}height", f"{factor}width"]:
            raise GateError(f"{value.name} of the graph has the axes {found}, not symbolic ones. Nothing was written.")


def set_metadata(model: ModelProto, key: str, text: str) -> None:
    """Put one entry into ``metadata_props``."""
    entry = model.metadata_props.add()
    entry.key, entry.value = key, text


def check_model(model: ModelProto) -> None:
    """ONNX's own full check, shapes included."""
    onnx.checker.check_model(model, full_check=True)
