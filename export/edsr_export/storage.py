"""Weights stored in half the bytes where no bit is lost: as FP16, with a cast back to FP32 before they are used."""

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

_LEAST_VALUES = 1024  # a cast for every bias would be more graph than it saves


def store_in_half(model: ModelProto) -> None:
    """Replace every large FP32 weight whose values are all values of FP16, as those of a checkpoint in FP16 are.

    What the graph computes stays the same to the last bit: backends cast once, when they load it.
    """
    graph, casts = model.graph, []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < _LEAST_VALUES or not np.array_equal(half.astype(np.float32), values):
            continue
        stored = f"{weight.name}_fp16"
        casts.append(helper.make_node("Cast", [stored], [weight.name], to=TensorProto.FLOAT, name=f"{stored}_cast"))
        weight.CopyFrom(numpy_helper.from_array(half, stored))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
