"""Networks of the field: trained alike, resumed, put in order, timed in pairs, and shown as what they are."""

import dataclasses
import itertools
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from benchmarks import report, run
from benchmarks.field import run_time, training
from benchmarks.field.training import NETWORKS, ORDER, FieldResult, find_reversals
from benchmarks.models import Models, build_network
from benchmarks.reporting import plots
from benchmarks.reporting.document import SECTIONS
from benchmarks.reporting.labels import label_points
from benchmarks.reporting.readme import make_table
from benchmarks.result_file import read_result
from benchmarks.settings import Settings, smoke_settings
from benchmarks.training_run import fields_of, small_training
from edsr_runtime.errors import NumericalError
from edsr_train import fit
from edsr_train.config import TrainConfig
from edsr_train.data.patches import Plan
from edsr_train.data.pictures import make_pair
from edsr_train.data.training_set import TrainingSet
from edsr_train.recipes import RECIPES
from edsr_train.run_folder import RunFolder
from made_up_result import field_section, made_up
from photographs import noise, save
from tiny_training import save_noise

FEW = ("srcnn", "vdsr", "edsr-small")
PARAMETERS = {
    "srcnn": 57_281,
    "vdsr": 664_704,
    "srresnet": 1_374_100,
    "edsr-small": 427_212,
    "edsr-baseline": 1_369_859,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of benchmark data, tiny."""
    root = tmp_path_factory.mktemp("data")
    save_noise(root / "train", count=3, hw=(36, 40))
    hr = noise(48, 52, 0)
    save(hr, root / "benchmark" / "Set5" / "HR" / "baby.png")
    save(make_pair(hr, 2).lr, root / "benchmark" / "Set5" / "LR_bicubic" / "X2" / "babyx2.png")
    return root


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "NETWORKS", FEW)


def measure(data: Path, output: Path, *more: str) -> Result:
    arguments = ("--smoke", "--only", "field", "--data", str(data), "--output", str(output), "--overwrite", *more)
    return CliRunner().invoke(run.main, arguments)


def section_of(output: Path) -> dict[str, Any]:
    section: dict[str, Any] = read_result(output)["results"]["field"]
    return section


def without_times(section: dict[str, Any]) -> dict[str, Any]:
    return {**section, "rows": [{**row, "seconds": 0} for row in section["rows"]]}


class Watch:
    """What every run was given, and the patches that it drew."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.configs: dict[str, TrainConfig] = {}
        self.plans: dict[str, dict[int, Plan]] = {}
        self._name = ""
        self.before_update: Callable[[str, int], None] = lambda name, update: None
        whole, planned = fit.train, TrainingSet.plan

        def train(network: Any, config: TrainConfig, data: TrainingSet, folder: RunFolder, **rest: Any) -> Any:
            self._name = folder.path.name
            self.configs[self._name], self.plans[self._name] = config, {}
            assert network.scales == data.scales == (2,)
            return whole(network, config, data, folder, **rest)

        def plan(data: TrainingSet, seed: int, update: int, batch: int) -> Plan:
            self.plans[self._name][update] = planned(data, seed, update, batch)
            self.before_update(self._name, update)
            return self.plans[self._name][update]

        monkeypatch.setattr(fit, "train", train)
        monkeypatch.setattr(TrainingSet, "plan", plan)


def test_all_are_trained_alike_and_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    tmp_path: Path, data: Path, few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, counted = training._mult_adds, {"vdsr": 2e9, "edsr-small": 3e9}  # one by counting, which takes seconds

    def mult_adds(network: Any, name: str) -> float:
        if name not in counted:
            counted[name] = whole(network, name)
        return counted[name]

    monkeypatch.setattr(training, "_mult_adds", mult_adds)
    watch = Watch(monkeypatch)
    output, stopped = tmp_path / "result.json", tmp_path / "stopped.json"
    done = measure(data, output)
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(report.main, [str(output)]).stdout == done.stdout
    assert str(tmp_path) not in output.read_text()
    assert str(data) not in output.read_text()

    assert tuple(watch.configs) == FEW
    assert set(watch.configs.values()) == {small_training(4, 2, 2, 8)}
    for a, b in itertools.combinations(watch.plans.values(), 2):
        assert a.keys() == b.keys() == {0, 1, 2, 3}
        for update in a:
            for field in ("picture", "top", "left", "turns", "mirror"):
                assert np.array_equal(getattr(a[update], field), getattr(b[update], field))

    section = section_of(output)
    assert [row["network"] for row in section["rows"]] == list(FEW)
    for row in section["rows"]:
        assert [point["update"] for point in row["points"]] == [2, 4]
        assert row["psnr_db"] == row["points"][-1]["psnr_db"]
        assert row["gain_db"] == pytest.approx(row["psnr_db"] - section["bicubic_db"])
        assert (row["updates"], row["skipped"]) == (4, 0)
        assert row["seconds"] > 0
    srcnn = section["rows"][0]
    assert srcnn["parameters"] == (81 + 1) * 8 + (25 * 8 + 1) * 8 + 25 * 8 + 1  # 9-5-5 with 8 and 8 feature maps
    assert srcnn["mult_adds"] == (81 * 8 + 25 * 8 * 8 + 25 * 8) * 1280 * 720
    assert section["photographs"] == 3
    assert section["threads"] == 1
    assert section["order"] == [
        name
        for _, name in sorted(
            [(section["bicubic_db"], "bicubic"), *((row["psnr_db"], row["network"]) for row in section["rows"])],
            reverse=True,
        )
    ]

    def stop_in_the_second(name: str, update: int) -> None:
        if (name, update) == (FEW[1], 3):
            signal.raise_signal(signal.SIGTERM)

    watch.before_update = stop_in_the_second
    runs = ("--runs", str(tmp_path / "runs"))
    cut = measure(data, stopped, *runs)
    assert cut.exit_code == 128 + signal.SIGTERM
    said = re.search(r"field/vdsr was stopped after (\d) of 4 updates; the same command goes on from there", cut.output)
    assert said, cut.output
    assert not stopped.exists()
    watch.before_update = lambda name, update: None
    watch.configs.clear()
    assert measure(data, stopped, *runs).exit_code == 0
    assert tuple(watch.configs) == FEW[1:]  # the first was done
    assert set(watch.plans[FEW[1]]) == set(range(int(said[1]), 4))
    assert without_times(section_of(stopped)) == without_times(section)
    again = measure(data, stopped, *runs)
    assert again.exit_code == 0
    assert watch.configs.keys() == set(FEW[1:])  # nothing more was trained
    assert section_of(stopped)["rows"][0]["seconds"] > 0

    settings = dataclasses.replace(smoke_settings(), field_patch=6)
    monkeypatch.setattr(run, "smoke_settings", lambda: settings)
    other = measure(data, stopped, *runs)
    assert other.exit_code == 2
    assert "patch is 8 there, which patch=6 in this measurement contradicts" in " ".join(other.output.split())


def test_a_network_that_diverges_costs_the_others_nothing_and_is_named(
    tmp_path: Path, data: Path, few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit.train

    def train(network: Any, config: Any, data: Any, folder: RunFolder, **rest: Any) -> Any:
        if folder.path.name == "vdsr":
            raise NumericalError("loss or gradient was not finite")
        return whole(network, config, data, folder, **rest)

    monkeypatch.setattr(fit, "train", train)
    monkeypatch.setattr(training, "_mult_adds", lambda network, name: 1e9)
    output = tmp_path / "result.json"
    done = measure(data, output)
    assert done.exit_code == 0, done.output
    section = section_of(output)
    assert [row["network"] for row in section["rows"]] == ["srcnn", "edsr-small"]
    assert section["diverged"] == ["vdsr"]
    assert not section["is_field_order"]
    assert "* vdsr diverged with these options, and has no place in it" in done.stdout


def test_without_data_it_is_refused() -> None:
    done = CliRunner(env={"EDSR_DATA": ""}).invoke(run.main, ["--smoke", "--only", "field"])
    assert done.exit_code == 2
    needed = "field needs photographs in train/ and benchmark pictures: pass --data, or set EDSR_DATA"
    assert needed in " ".join(done.output.split())


def test_the_field_is_measured_only_when_asked_for() -> None:
    assert not {"field", "field-latency"} & set(run.QUICK_MEASUREMENTS)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_those_of_the_recipes_for_x2_alone(name: str) -> None:
    fields = fields_of(name, 2, Settings())
    assert {key: fields[key] for key in RECIPES[name].network if key != "scales"} == {
        key: value for key, value in RECIPES[name].network.items() if key != "scales"
    }
    architecture = RECIPES[name].architecture
    network = build_network(architecture, {k: v for k, v in fields.items() if k != "scale"}, 2)
    assert network is not None
    assert network.scales == (2,)
    tiny = build_network(
        architecture, {k: v for k, v in fields_of(name, 2, smoke_settings()).items() if k != "scale"}, 2
    )
    assert tiny is not None
    sizes = [sum(p.numel() for key, p in each.named_parameters() if "mean" not in key) for each in (network, tiny)]
    assert sizes[1] < sizes[0] / 3
    if name in PARAMETERS:
        assert sizes[0] == PARAMETERS[name]


def test_all_have_the_small_recipe_with_adam_and_nothing_of_their_own() -> None:
    config = small_training(1000, 250, 16, 24)
    of_this_length = {"updates": 1000, "validate_every": 250, "batch": 16, "patch": 24, "warmup": 100}
    adam = {"optimizer": "adam", "lr": 5e-4}
    assert config == dataclasses.replace(RECIPES["edsr-small"].training, **of_this_length, **adam)
    assert (config.loss, config.schedule, config.precision, config.ema) == ("l1", "cosine", "bf16", 0.999)


IN_ORDER = {"edsr-baseline": 36.2, "edsr-small": 36.3, "srresnet": 36.0, "vdsr": 35.5, "srcnn": 35.0, "bicubic": 33.7}


def test_the_order_of_the_field_has_no_reversals_and_within_a_group_any_order_will_do() -> None:
    assert {name for group in ORDER for name in group} == set(IN_ORDER)
    assert find_reversals(IN_ORDER) == []
    assert find_reversals({**IN_ORDER, "edsr-small": 36.1, "espcn": 40.0}) == []


def test_every_pair_that_differs_is_named() -> None:
    found = find_reversals({**IN_ORDER, "vdsr": 36.25})
    assert [(each.above, each.below) for each in found] == [("edsr-baseline", "vdsr"), ("srresnet", "vdsr")]
    assert [each.by_db for each in found] == pytest.approx([0.05, 0.25])


def test_level_is_not_above_and_what_is_not_there_is_in_no_pair() -> None:
    (level,) = find_reversals({**IN_ORDER, "srcnn": 33.7})
    assert (level.above, level.below, level.by_db) == ("srcnn", "bicubic", 0)
    assert find_reversals({"srresnet": 30.0, "srcnn": 29.0}) == []


def document(section: FieldResult) -> list[str]:
    return SECTIONS["field"](json.loads(json.dumps(dataclasses.asdict(section)))).document().splitlines()


def ranked(lines: list[str]) -> list[str]:
    """The networks of the first table, from top to bottom."""
    return [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")][2:7]


def test_the_order_that_was_found_is_said() -> None:
    lines = document(field_section())
    assert "* this is the order of the field: EDSR-type above SRResNet above VDSR above SRCNN above bicubic" in lines
    assert ranked(lines) == ["edsr-baseline", "srresnet", "vdsr", "srcnn", "bicubic"]
    assert "* srresnet: 1 updates were skipped" in lines


def test_an_order_that_is_not_the_fields_is_said_with_every_pair() -> None:
    lines = document(field_section(edsr=1.0, srresnet=1.004, vdsr=1.75, srcnn=-0.25))
    assert (
        "* **this is not the order of the field**, which is "
        "EDSR-type above SRResNet above VDSR above SRCNN above bicubic"
    ) in lines
    assert "* found, the best first: vdsr, srresnet, edsr-baseline, bicubic, srcnn" in lines
    assert ranked(lines) == ["vdsr", "srresnet", "edsr-baseline", "bicubic", "srcnn"]
    assert "* edsr-baseline is level with srresnet" in lines
    assert "* edsr-baseline ends 0.75 dB below vdsr" in lines
    assert "* srresnet ends 0.75 dB below vdsr" in lines
    assert "* srcnn ends 0.25 dB below bicubic" in lines
    assert len([line for line in lines if " below " in line or " level with " in line]) == 4


def test_an_order_without_all_of_them_is_not_called_the_fields() -> None:
    section = dataclasses.replace(field_section(), is_field_order=False, diverged=["edsr-small"])
    lines = document(section)
    assert any(line.startswith("* so far this is the order of the field") for line in lines)
    assert "* edsr-small diverged with these options, and has no place in it" in lines


def test_the_figure_has_gain_over_cost_with_bicubic_at_zero() -> None:
    result = made_up(field=field_section(edsr=2.5, vdsr=1.5, srcnn=-0.5))
    figure = plots.gain_against_cost(result)
    assert figure is not None
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert "multiply-adds, HR 1280x720" in axes.get_xlabel()
    assert axes.get_ylabel() == "PSNR above bicubic, dB, Set5"
    places = [tuple(np.asarray(points.get_offsets())[0]) for points in axes.collections]
    assert places == [(316.25, 2.5), (316.25 / 4, 1.5), (316.25 / 16, -0.5)]
    assert [text.get_text() for text in axes.texts] == ["bicubic", "edsr-baseline", "vdsr", "srcnn"]
    (zero,) = axes.lines
    assert list(np.asarray(zero.get_ydata())) == [0, 0]
    colours = [np.asarray(points.get_facecolor()).tolist() for points in axes.collections]
    assert colours[0] != colours[1] == colours[2]


def test_names_of_points_hide_no_other_and_no_point() -> None:
    figure, axes = plt.subplots()
    places = [(1.0, 1.0), (1.02, 1.0), (1.0, 1.02), (2.0, 2.0), (2.0, 2.03), (0.0, 0.0)]
    axes.scatter(*zip(*places, strict=True))
    labels = label_points(axes, [f"network {n}" for n in range(len(places))], places)
    boxes = [label.get_window_extent() for label in labels]
    assert [label.get_text() for label in axes.texts] == [f"network {n}" for n in range(len(places))]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    for place in axes.transData.transform(places):
        assert not any(box.contains(*place) for box in boxes)
    plt.close(figure)


def test_without_the_field_there_is_no_figure() -> None:
    assert plots.gain_against_cost(made_up()) is None


def test_documents_can_have_both_tables() -> None:
    result = made_up(field=field_section())
    assert make_table("field", result).markdown().count("\n") == 1 + 5
    with pytest.raises(Exception, match="'field-latency' needs the measurement field-latency"):
        make_table("field-latency", result)


@pytest.mark.slow
def test_the_whole_field_in_a_smoke_run(tmp_path: Path, data: Path) -> None:
    output = tmp_path / "result.json"
    arguments = ["--smoke", "--only", "field,field-latency", "--data", str(data), "--output", str(output)]
    done = CliRunner().invoke(run.main, arguments)
    assert done.exit_code == 0, done.output
    results = read_result(output)["results"]
    assert [row["network"] for row in results["field"]["rows"]] == list(NETWORKS)
    for case in results["field-latency"]["cases"]:
        assert [row["network"] for row in case["rows"]] == [*run_time.NETWORKS, *run_time.NETWORKS]


def test_run_times_are_ratios_of_the_same_round_and_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_time, "NETWORKS", ("lesrcnn", "edsr-small"))
    output = tmp_path / "result.json"
    done = CliRunner().invoke(run.main, ["--smoke", "--only", "field-latency", "--output", str(output)])
    assert done.exit_code == 0, done.output
    section = read_result(output)["results"]["field-latency"]
    assert [case["hr_hw"] for case in section["cases"]] == [[32, 32], [48, 48]]
    for case in section["cases"]:
        rows = {(row["network"], row["engine"]): row for row in case["rows"]}
        assert set(rows) == set(itertools.product(run_time.NETWORKS, ("torch-eager-fp32", "auto")))
        for (_, engine), row in rows.items():
            assert row["latency_ms"]["count"] == len(row["rounds_ms"]) == 2
            reference = rows["lesrcnn", engine]["rounds_ms"]
            ratios = [own / other for own, other in zip(row["rounds_ms"], reference, strict=True)]
            assert row["times_reference"]["median"] == pytest.approx(np.median(ratios), rel=0.01)
            assert row["max_difference"] <= 3
    assert section["threads"] == torch.get_num_threads()
    printed = CliRunner().invoke(report.main, [str(output)])
    assert "| 48x48 | edsr-toolkit, auto | lesrcnn |" in printed.output


def test_another_network_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Models.exported_network

    def of_another(self: Models, name: str, network: Any, scale: int) -> Path:
        if name == "edsr-small":
            network.load_state_dict({key: value * 1.5 for key, value in network.state_dict().items()})
        path = original(self, name, network, scale)
        if name == "edsr-small":
            network.load_state_dict({key: value / 1.5 for key, value in network.state_dict().items()})
        return path

    monkeypatch.setattr(Models, "exported_network", of_another)
    monkeypatch.setattr(run_time, "NETWORKS", ("edsr-small",))
    done = CliRunner().invoke(run.main, ["--smoke", "--only", "field-latency"])
    assert done.exit_code == 5
    assert "edsr-small auto differs from PyTorch by" in done.output
