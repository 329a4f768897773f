"""Counted on graphs made by hand, then on those of networks with published figures."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from benchmarks.context import Context
from benchmarks.cost import count, measure, trained
from benchmarks.cost.conventions import HR_128, LR_256, PAPER, mult_adds_by_convention
from benchmarks.cost.count import count_layers, mult_adds, parameters
from benchmarks.cost.graph import Graph
from benchmarks.cost.measure import count_published
from benchmarks.cost.memory import activation_peak
from benchmarks.cost.published import FIXED, PUBLISHED, Figure, PublishedCost
from benchmarks.cost.reach import receptive_radius
from benchmarks.machine import describe_machine
from benchmarks.models import Models, build_network, model_as_trained
from benchmarks.reporting.cost_tables import short
from benchmarks.settings import smoke_settings
from edsr_export.cost import cost_at_paper_size
from edsr_runtime.contract import read_contract
from edsr_runtime.errors import ModelFileError
from edsr_runtime.zoo import shipped_models
from edsr_train.architectures.registry import ARCHITECTURES

PIXEL = 4  # bytes of a float
PARAMETERS = {
    **{"edsr-baseline_x2": 1_369_859, "edsr-baseline_x3": 1_554_499, "edsr-baseline_x4": 1_517_571},  # as published
    **{"edsr-small_x2": 427_212, "edsr-small_x3": 451_227, "edsr-small_x4": 484_848},  # of their card
}
TINY_PER_PIXEL = 27 * 8 + 3 * 72 * 8 + 72 * 32 + 4 * 72 * 32 + 16 * 72 * 3
"""Mult-Adds of EDSR 1x8 x4, as it is trained, for each pixel of the input."""


class Builder:
    """A graph, node by node; every node reads the last one unless told otherwise."""

    def __init__(self, channels: int = 3) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.last = "input"
        self.channels = channels

    def add(self, operator: str, *extra: str, inputs: tuple[str, ...] = (), **attributes: Any) -> "Builder":
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [*(inputs or (self.last,)), *extra], [name], **attributes))
        self.last = name
        return self

    def weight(self, *shape: int, values: Any = None, name: str = "") -> str:
        array = np.ones(shape, np.float32) * (len(self.weights) + 1) if values is None else np.array(values)
        name = name or f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def conv(self, out: int, into: int, size: int = 3, groups: int = 1, dilation: int = 1) -> "Builder":
        weights = self.weight(out, into // groups, size, size), self.weight(out)
        pads = [dilation * (size // 2)] * 4
        return self.add("Conv", *weights, pads=pads, group=groups, dilations=[dilation] * 2)

    def graph(self) -> Graph:
        return Graph(self.model(), "made.onnx")

    def model(self) -> Any:
        ends = [
            helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", self.channels, "h", "w"]),
            helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None),
        ]
        graph = helper.make_graph(self.nodes, "made", ends[:1], ends[1:], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_a_convolution_multiplies_every_weight_at_every_output_pixel() -> None:
    graph = Builder().conv(8, 3).add("Relu").conv(8, 8, groups=4).graph()
    first, second = count_layers(graph, (5, 7))
    assert (first.operator, first.weight_shape, first.output_hw) == ("Conv", (8, 3, 3, 3), (5, 7))
    assert (first.mult_adds, first.parameters) == (8 * 3 * 9 * 35, 8 * 3 * 9 + 8)
    assert (second.mult_adds, second.parameters) == (8 * 2 * 9 * 35, 8 * 2 * 9 + 8)


def test_after_a_pixel_shuffle_there_are_more_pixels() -> None:
    graph = Builder().conv(12, 3).add("DepthToSpace", blocksize=2, mode="CRD").conv(3, 3, 1).graph()
    assert mult_adds(graph, (4, 6)) == 12 * 3 * 9 * 24 + 3 * 3 * 96
    assert graph.scale() == 2


def test_a_transposed_convolution_counts_at_its_output_as_published_for_fsrcnn() -> None:
    made = Builder()
    graph = made.add("ConvTranspose", made.weight(3, 1, 9, 9), strides=[2, 2], pads=[4] * 4, output_padding=[1, 1])
    assert mult_adds(graph.graph(), (10, 10)) == 3 * 81 * 400


def test_products_of_matrices_count_too() -> None:
    made = Builder()
    made.add("MatMul", made.weight(6, 5))  # (1, 3, h, 6) by (6, 5)
    assert mult_adds(made.graph(), (4, 6)) == 3 * 4 * 6 * 5


def test_quantised_products_count_like_others() -> None:
    made = Builder()
    one, zero = made.weight(values=np.float32(0.1)), made.weight(values=np.uint8(0))
    scale, start = made.weight(values=np.float32(0.1)), made.weight(values=np.int8(0))
    kernel = made.weight(values=np.ones((12, 3, 3, 3), np.int8))
    made.add("QuantizeLinear", one, zero).add("QLinearConv", one, zero, kernel, scale, start, one, zero, pads=[1] * 4)
    graph = made.add("DequantizeLinear", one, zero).add("DepthToSpace", blocksize=2, mode="CRD").graph()
    (layer,) = count_layers(graph, (4, 5))
    assert (layer.operator, layer.weight_shape, layer.parameters) == ("QLinearConv", (12, 3, 3, 3), 12 * 27)
    assert layer.mult_adds == 12 * 27 * 20
    assert parameters([graph]) == 12 * 27


def test_what_multiplies_and_is_not_counted_is_no_zero() -> None:
    made = Builder()
    made.add("Einsum", inputs=(made.weight(12, 3), "input"), equation="oc,bchw->bohw")
    with pytest.raises(ModelFileError, match=r"made\.onnx: Einsum cannot be counted, expected products by Conv, "):
        count_layers(made.graph(), (4, 4))


def test_a_graph_that_goes_one_way_or_another_is_said_to() -> None:
    made, ways = Builder(), {}
    condition = made.weight(values=np.bool_(True))
    for name in ("then_branch", "else_branch"):
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        ways[name] = helper.make_graph([helper.make_node("Identity", ["input"], [name])], name, [], [output])
    model = made.add("If", inputs=(condition,), **ways).model()
    with pytest.raises(ModelFileError, match=r"has the operator If, expected a graph without control flow"):
        Graph(model, "made.onnx")


@pytest.mark.parametrize("option", [("--lr", "-5", "7"), ("--scale", "1e-9")], ids=str)
def test_impossible_sizes_are_refused(option: tuple[str, ...]) -> None:
    result = CliRunner().invoke(count.main, [str(shipped_models()[0].path), *option])
    assert result.exit_code == 2
    assert "is not in the range x>=1" in result.output


def test_weights_that_are_used_twice_are_learned_once() -> None:
    made = Builder()
    shared = made.weight(3, 3, 3, 3)
    graph = made.add("Conv", shared, pads=[1] * 4).add("Conv", shared, pads=[1] * 4).graph()
    assert [layer.parameters for layer in count_layers(graph, (4, 4))] == [81, 0]
    assert parameters([graph]) == 81
    assert mult_adds(graph, (4, 4)) == 2 * 81 * 16


def test_what_graphs_of_one_network_share_counts_once() -> None:
    first, second = Builder().conv(4, 3), Builder().conv(4, 3)  # the same numbers
    other = Builder()
    other.weights.append(numpy_helper.from_array(np.zeros(1, np.float32), "unused"))
    assert parameters([first.graph(), second.graph()]) == 4 * 27 + 4
    assert parameters([first.graph()], weights_only=True) == 4 * 27
    assert parameters([first.graph(), other.conv(4, 3).graph()]) == 2 * (4 * 27 + 4)


def test_slopes_and_batch_norm_are_parameters_and_multiply_nothing() -> None:
    made = Builder()
    made.add("PRelu", made.weight(3, 1, 1))
    norm = [made.weight(3) for _ in range(4)]
    graph = made.add("BatchNormalization", *norm).graph()
    assert parameters([graph]) == 3 + 3 + 3  # slopes, scale, shift; mean and variance are not learned
    assert parameters([graph], weights_only=True) == 0
    assert mult_adds(graph, (4, 4)) == 0


def test_layers_can_be_left_out_by_name() -> None:
    made = Builder()
    made.add("Conv", made.weight(3, 3, 1, 1, name="sub_mean.weight"))
    graph = made.conv(4, 3).graph()
    assert mult_adds(graph, (2, 2), ("sub_mean",)) == 4 * 27 * 4
    assert parameters([graph], ("sub_mean",)) == 4 * 27 + 4


def test_weights_through_cast_and_identity_are_found() -> None:
    made = Builder()
    half = made.weight(values=np.ones((3, 3, 3, 3), np.float16))
    made.add("Cast", inputs=(half,), to=TensorProto.FLOAT)
    weight = made.last
    graph = made.add("Conv", weight, inputs=("input",), pads=[1] * 4).graph()
    assert parameters([graph]) == 81
    assert mult_adds(graph, (2, 2)) == 81 * 4


def test_pictures_may_have_their_colours_last() -> None:
    made = Builder()
    made.add("Transpose", perm=[0, 3, 1, 2]).conv(3, 3, 1).add("Transpose", perm=[0, 2, 3, 1])
    model = made.model()
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim, value in zip(dims, ("n", "h", "w", 3), strict=True):
        dim.Clear()
        if isinstance(value, int):
            dim.dim_value = value
        else:
            dim.dim_param = value
    graph = Graph(model, "made.onnx")
    assert mult_adds(graph, (4, 6)) == 9 * 24
    assert graph.scale() == 1
    assert receptive_radius(graph).radius_px == 0


def test_memory_is_what_is_alive_at_once() -> None:
    graph = Builder().conv(8, 3).add("Relu").conv(4, 8).graph()
    peak = activation_peak(graph, (10, 10))
    assert peak.bytes == (8 + 4) * 100 * PIXEL  # the second convolution; ReLU writes over what it reads


def test_memory_of_a_skip_connection() -> None:
    made = Builder().conv(8, 3)
    skip = made.last
    made.conv(8, 8).add("Relu").conv(8, 8)
    made.add("Add", inputs=(skip, made.last))
    assert activation_peak(made.graph(), (10, 10)).bytes == 3 * 8 * 100 * PIXEL


@pytest.mark.parametrize(
    ("made", "radius"),
    [
        (Builder().conv(3, 3), 1),
        (Builder().conv(3, 3).conv(3, 3, 5).conv(3, 3, 1), 3),
        (Builder().conv(3, 3, dilation=4), 4),
        # at twice the resolution a convolution sees half a pixel: from the next cell
        (Builder().conv(12, 3).add("DepthToSpace", blocksize=2, mode="CRD").conv(3, 3), 2),
        (Builder().add("Add", inputs=("input", "input")), 0),
    ],
)
def test_reach_adds_up(made: Builder, radius: int) -> None:
    assert receptive_radius(made.graph()).radius_px == radius


def test_reach_of_branches_is_that_of_the_longest() -> None:
    made = Builder().conv(3, 3)
    short = made.last
    made.conv(3, 3, 7)
    assert receptive_radius(made.add("Concat", inputs=(short, made.last), axis=1).graph()).radius_px == 4


def test_reach_follows_slices_padding_and_transposition_and_back() -> None:
    made = Builder()
    flip = [made.weight(values=np.array(v, np.int64)) for v in ([-1], [-(2**62)], [2], [-1])]
    made.add("Transpose", perm=[0, 1, 3, 2]).add("Slice", *flip)
    made.conv(3, 3)
    made.add("Slice", *flip).add("Transpose", perm=[0, 1, 3, 2])
    pads = made.weight(values=np.array([0, 0, 2, 2, 0, 0, 2, 2], np.int64))
    made.add("Pad", pads, mode="edge")
    kernel = made.weight(3, 3, 5, 5)
    assert receptive_radius(made.add("Conv", kernel).graph()).radius_px == 3


def test_what_sees_the_whole_picture_or_is_not_known_has_no_radius_and_says_why() -> None:
    whole = receptive_radius(Builder().add("GlobalAveragePool").graph())
    assert whole.radius_px is None
    assert "GlobalAveragePool over the whole picture" in whole.unknown
    unknown = receptive_radius(Builder().add("Hardmax").graph())
    assert unknown.unknown == "the receptive radius is unknown: the operator Hardmax"


def test_a_mask_beside_a_result_may_be_there_but_is_not_followed() -> None:
    made = Builder().conv(3, 3).add("Dropout")
    made.nodes[-1].output.append("mask")
    assert receptive_radius(made.graph()).radius_px == 1
    used = made.add("Where", inputs=("mask", made.last, made.last)).graph()
    assert receptive_radius(used).unknown == "the receptive radius is unknown: the operator Where on a mask or indices"


def test_a_file_that_is_not_onnx_or_takes_no_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"certainly not")
    with pytest.raises(ModelFileError, match="is not an ONNX file"):
        Graph.read(path)
    made = Builder().conv(3, 3).model()
    del made.graph.input[0].type.tensor_type.shape.dim[0]
    onnx.save(made, path)
    with pytest.raises(ModelFileError, match="one input of four dimensions"):
        Graph.read(path)


def test_the_command_prints_any_file_under_every_convention(tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    onnx.save(Builder().conv(12, 3).add("DepthToSpace", blocksize=2, mode="CRD").model(), path)
    done = CliRunner().invoke(count.main, [str(path), "--lr", "10", "20"])
    assert done.exit_code == 0, done.output
    assert "| w0 | Conv | 12x3x3x3 | 10x20 | 336 | 0.1 |" in done.output
    assert "### In all: foreign.onnx, x2" in done.output
    assert "|  | Mult-Adds, HR 1280x720 | Mult-Adds, LR 256x256 | Mult-Adds, HR 128x128 |" in done.output
    # 324 for each of 640x360, 256x256 and 64x64 LR pixels
    assert "| the file | 74.65M | 21.23M | 1.33M | 0.000 | 6.3 | 1 |" in done.output
    assert "receptive radius: 1 LR pixels" in done.output


def test_the_command_is_told_of_pictures_that_are_enlarged_before(tmp_path: Path) -> None:
    path = tmp_path / "srcnn-like.onnx"
    onnx.save(Builder().conv(1, 3).model(), path)
    done = CliRunner().invoke(count.main, [str(path), "--scale", "2"])
    assert "| the file | 24.88M | 7.08M | 442.4K |" in done.output  # 27 for each of 1280x720, 512x512 and 128x128


def test_the_command_counts_files_of_our_checkpoints_before_folding_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Models(tmp_path, smoke_settings()).exported(4)
    monkeypatch.setattr(trained, "CHECKPOINTS", tmp_path)
    done = CliRunner().invoke(count.main, [str(path)])
    assert done.exit_code == 0, done.output
    before, after = (line.split(" | ") for line in done.output.splitlines() if line.startswith("| as "))
    assert (before[0], after[0]) == ("| as trained", "| as exported")
    assert before[1:4] == [short(TINY_PER_PIXEL * pixels) for pixels in (320 * 180, 256 * 256, 32 * 32)]
    assert float(after[4]) < float(before[4]) == round(TINY_PER_PIXEL / 1e6, 3)
    monkeypatch.setattr(trained, "CHECKPOINTS", path.parent)  # where its checkpoint is not
    alone = CliRunner().invoke(count.main, [str(path)])
    assert [line.split(" | ")[0] for line in alone.output.splitlines() if line.startswith("| as ")] == ["| as exported"]


def test_shipped_models_are_known_as_they_were_trained() -> None:
    found = {}
    for shipped in shipped_models():
        network = trained.network_behind(shipped.path)
        assert network is not None, shipped.path.name
        found[shipped.path.stem] = trained.learned(network, shipped.scale)
    assert found == PARAMETERS


@pytest.mark.parametrize("shipped", shipped_models(), ids=lambda model: model.path.stem)
def test_the_radius_is_the_one_that_export_measured(shipped: Any) -> None:
    graph = Graph.read(shipped.path)
    assert receptive_radius(graph).radius_px == read_contract(shipped.path).receptive_radius
    assert graph.scale() == shipped.scale


def test_conventions_are_pictures_of_different_sizes() -> None:
    graph = Builder().conv(27, 3, 1).add("DepthToSpace", blocksize=3, mode="CRD").graph()
    assert mult_adds_by_convention(graph, 3, PAPER) == pytest.approx(81 * 1280 * 720 / 9)  # 3 does not divide 1280
    assert mult_adds_by_convention(graph, 3, LR_256) == 81 * 256 * 256
    assert mult_adds_by_convention(graph, 3, HR_128) == pytest.approx(81 * 128 * 128 / 9)


def test_a_network_on_the_enlarged_picture_gets_it_enlarged() -> None:
    graph = Builder().conv(3, 3, 1).graph()  # as SRCNN, enlarged before
    assert mult_adds_by_convention(graph, 2, PAPER) == 9 * 1280 * 720
    assert mult_adds_by_convention(graph, 2, LR_256) == 9 * 512 * 512


@pytest.mark.parametrize(
    ("text", "value", "half_digit"),
    [("1,370K", 1.37e6, 500), ("316.3G", 316.3e9, 0.05e9), ("40.7M", 40.7e6, 0.05e6), ("5", 5, 0.5)],
)
def test_figures_are_read_as_they_were_printed(text: str, value: float, half_digit: float) -> None:
    assert (Figure(text).value, Figure(text).half_digit) == (pytest.approx(value), pytest.approx(half_digit))


@pytest.mark.parametrize(("counted", "agrees"), [(316.3e9, True), (317.8e9, True), (318.0e9, False), (314.6e9, False)])
def test_a_count_agrees_within_half_a_percent(counted: float, agrees: bool) -> None:
    assert Figure("316.3G").agrees(counted) is agrees
    assert Figure("12K").agrees(12_464)  # rounded to it, although 4 % off


_PRESENT = {architecture.name for architecture in ARCHITECTURES}
_SMALL = [("EDSR-baseline", 4), ("FSRCNN", 2)]
_CASES = [
    pytest.param(
        each, scale, marks=[] if (each.name, scale) in _SMALL else pytest.mark.slow, id=f"{each.name}-x{scale}"
    )
    for each in PUBLISHED
    for scale in each.mult_adds
    if each.architecture in _PRESENT
]


@functools.cache
def as_trained(name: str, scale: int) -> Graph:
    """Of the published table; made once, since that takes seconds."""
    each = next(each for each in PUBLISHED if each.name == name)
    network = build_network(each.architecture, each.config, scale)
    assert network is not None
    return Graph(model_as_trained(network, scale), f"{name} x{scale}")


@pytest.mark.parametrize(("each", "scale"), _CASES)
def test_published_figures_are_reproduced(each: PublishedCost, scale: int) -> None:
    network = build_network(each.architecture, each.config, scale)
    assert network is not None
    counted, found, beside, also = count_published(each, network, scale, functools.partial(as_trained, each.name))
    assert [other.mult_adds for other in also if not other.mult_adds_agree] == []
    assert counted == sum(p.numel() for name, p in network.named_parameters() if not name.startswith(FIXED))
    if each.reading:  # what it says would be stale if they agreed
        assert not (beside.parameters_agree or beside.mult_adds_agree)
        return
    assert beside.parameters_agree, f"{beside.parameters_counted} and {beside.parameters}"
    assert beside.mult_adds_agree, f"{found.mult_adds[beside.convention]} and {beside.mult_adds}"
    if each.architecture == "edsr":  # the exporter counts by hooks on the PyTorch network
        by_hooks = cost_at_paper_size(network.branch(scale), scale)
        assert (found.mult_adds[PAPER.id], counted) == (pytest.approx(by_hooks.mult_adds), by_hooks.parameters)


@pytest.mark.slow
def test_what_was_published_of_lesrcnn_is_the_count_by_its_reading() -> None:
    (lesrcnn,) = (each for each in PUBLISHED if each.name == "LESRCNN")
    layers = count_layers(as_trained(lesrcnn.name, 4), (32, 32), lesrcnn.left_out)  # HR 128x128
    at_lr, at_twice = ([layer for layer in layers if layer.name == f"tail.0.layer.{place}"] for place in (0, 2))
    two_sub_pixel = at_lr[0].parameters + at_twice[0].parameters
    published = lesrcnn.parameters[4], lesrcnn.mult_adds[4]
    assert published[0].agrees(sum(layer.parameters for layer in layers) - two_sub_pixel + 64 * 64 * 9)
    assert published[1].agrees(sum(layer.mult_adds for layer in layers if layer not in at_twice))


def test_other_conventions_are_published_too() -> None:
    (vdsr,) = (each for each in PUBLISHED if each.name == "VDSR")
    assert [(also.convention, also.mult_adds[2].text) for also in vdsr.also] == [(HR_128, "10.90G")]


@pytest.mark.slow
def test_what_is_said_of_lesrcnn_gives_its_figures() -> None:
    (each,) = (each for each in PUBLISHED if each.name == "LESRCNN")
    layers = [layer for layer in count_layers(as_trained("LESRCNN", 4), (32, 32)) if not layer.name.startswith(FIXED)]
    really = sum(layer.mult_adds for layer in layers)
    assert really == 4_291_493_888  # for 128x128
    sub_pixel = [layer for layer in layers if layer.weight_shape == (256, 64, 3, 3)]
    assert [layer.output_hw for layer in sub_pixel] == [(32, 32), (64, 64)] * 2  # two feature maps go through both
    without_last = really - sum(layer.mult_adds for layer in sub_pixel if layer.output_hw == (64, 64))
    assert without_last == 3_083_534_336
    assert each.mult_adds[4].agrees(without_last, within=0) and not each.mult_adds[4].agrees(really)
    others = sum(layer.parameters for layer in layers) - sum(layer.parameters for layer in sub_pixel)
    one_small = others + 64 * 64 * 9
    assert one_small == 515_456
    assert each.parameters[4].agrees(one_small)
    assert not each.parameters[4].agrees(sum(layer.parameters for layer in layers))


@pytest.mark.slow
def test_vdsr_under_the_convention_of_lesrcnn() -> None:
    counted = mult_adds_by_convention(as_trained("VDSR", 2), 2, HR_128, FIXED)
    assert counted == 10_890_510_336
    assert Figure("10.90G").agrees(counted)


def test_networks_are_counted_as_trained_and_as_exported_and_others_are_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(smoke_settings(), smoke=False, cost_scales=(4,))
    models = Models(tmp_path, settings)
    figures = {4: Figure("6,879")}, {4: Figure("5.0G")}
    tiny = PublishedCost("Tiny", "edsr", models.config, "nobody", *figures, is_small=True)
    rows = (
        tiny,
        dataclasses.replace(tiny, name="Large", is_small=False),
        dataclasses.replace(tiny, name="Unheard", architecture="unheard-of"),
    )
    monkeypatch.setattr(measure, "PUBLISHED", rows)
    said: list[str] = []
    context = Context(settings, describe_machine(), models, tmp_path, None, said.append)
    result = measure.measure(context)
    assert result.absent == {
        "Large": "takes minutes to export: only with --full",
        "Unheard": "the project has no network unheard-of yet",
    }
    found, *shipped = result.rows
    assert [row.network for row in shipped] == [model.path.stem for model in shipped_models()]
    assert [row.parameters for row in shipped] == list(PARAMETERS.values())
    assert [row.trained is not None for row in shipped] == [row.scale == 4 for row in shipped]  # as was asked for
    assert all(row.exported is not None for row in shipped)
    assert found.published is not None and found.trained is not None and found.exported is not None
    assert found.parameters == 6867  # by hand: 27*8+8 + 3*(72*8+8) + 2*(72*32+32) + 72*3+3
    assert (found.published.parameters_agree, found.published.mult_adds_agree) == (True, False)
    assert found.trained.mega_per_lr_pixel == pytest.approx(TINY_PER_PIXEL / 1e6)
    assert found.exported.mult_adds[PAPER.id] < found.trained.mult_adds[PAPER.id]
    assert found.exported.receptive_radius_px == found.trained.receptive_radius_px == 6
    assert [layers.graph for layers in result.layers] == ["EDSR 1x8 x4, as trained", "EDSR 1x8 x4, as exported"]
