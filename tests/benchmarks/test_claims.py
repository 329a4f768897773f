"""Memory is counted as by hand, runs differ in what is compared only, and the tables say what came out."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from benchmarks import claims, report, run
from benchmarks.claims import ClaimsResult, Footprint, LossClaim, MemoryCase, MemoryClaim, OptimizerClaim, StartClaim
from benchmarks.reporting.document import SECTIONS
from benchmarks.training_memory import (
    BatchNormBlock,
    Training,
    held_by_blocks,
    held_by_network,
    held_bytes,
    training_peak,
    weights_bytes,
)
from benchmarks.training_run import Curve, Point
from edsr_train import fit
from edsr_train.checkpoint import load_network
from edsr_train.config import TrainConfig
from edsr_train.data.patches import Plan
from edsr_train.data.pictures import make_pair
from edsr_train.data.training_set import TrainingSet
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.models.srresnet import SRResNet, SRResNetConfig
from edsr_train.recipes import RECIPES
from edsr_train.run_folder import RunFolder
from photographs import noise, save
from tiny_training import save_noise

PLAIN = Training(scale=2, n_resblocks=1, n_feats=8, patch=6, batch=2, kind="edsr")
BATCH_NORM = dataclasses.replace(PLAIN, kind="edsr-batch-norm")
SRRESNET = dataclasses.replace(PLAIN, kind="srresnet")
PLANE = 2 * 6 * 6 * 4  # bytes of one LR channel of the batch
MAPS = 8 * PLANE  # of all features
STATISTICS = 2 * 8 * 4  # of a batch norm: mean and inverse deviation


def test_a_block_holds_its_input_and_what_its_relu_gives() -> None:
    assert held_by_blocks(PLAIN) == 2 * MAPS


def test_with_batch_norm_it_holds_what_both_convolutions_give_too() -> None:
    assert held_by_blocks(BATCH_NORM) == 4 * MAPS + 2 * STATISTICS


def test_every_block_holds_the_same() -> None:
    assert held_by_blocks(dataclasses.replace(PLAIN, n_resblocks=3)) == 3 * 2 * MAPS


@pytest.mark.parametrize(("scale", "tail"), [(2, 1 + 4), (4, 1 + 4 + 16)])
def test_the_network_holds_the_input_of_every_convolution_and_of_the_loss(scale: int, tail: int) -> None:
    patches, blocks, body, loss = 3 * PLANE, 2 * MAPS, MAPS, 2 * 3 * scale**2 * PLANE
    training = dataclasses.replace(PLAIN, scale=scale)
    assert held_by_network(training) == patches + blocks + body + tail * MAPS + loss


def test_only_the_blocks_hold_more_with_batch_norm() -> None:
    assert held_by_network(BATCH_NORM) - held_by_network(PLAIN) == held_by_blocks(BATCH_NORM) - held_by_blocks(PLAIN)


def test_a_block_of_srresnet_holds_what_its_batch_norm_gives_too() -> None:
    """PReLU wants its input, where ReLU makes do with what it gives, which the second convolution holds anyway."""
    assert held_by_blocks(SRRESNET) == 5 * MAPS + 2 * STATISTICS


@pytest.mark.parametrize(("scale", "tail"), [(2, 1 + 4), (4, 1 + 4 + 16)])
def test_srresnet_holds_more_at_both_ends_of_its_body_too(scale: int, tail: int) -> None:
    patches, head, body, loss = 3 * PLANE, MAPS, 2 * MAPS + STATISTICS, 2 * 3 * scale**2 * PLANE
    training = dataclasses.replace(SRRESNET, scale=scale)
    assert held_by_network(training) == patches + head + held_by_blocks(training) + body + tail * MAPS + loss


def test_srresnet_is_the_real_one_of_table_1_of_the_paper() -> None:
    training = Training(scale=2, n_resblocks=16, n_feats=64, patch=48, batch=16, kind="srresnet")
    network = training.network()
    assert (type(network), network.training) == (SRResNet, True)
    assert network.config == SRResNetConfig(2, n_resblocks=16, n_feats=64, form="reproduced")
    baseline = dataclasses.replace(training, kind="edsr")
    slopes, norms = 1 + 16, 2 * 16 + 1
    assert weights_bytes(training) - weights_bytes(baseline) == 4 * (slopes + norms * 2 * 64)


def test_a_storage_that_is_kept_twice_counts_once_and_weights_do_not() -> None:
    layer, x = nn.Linear(5, 3), torch.ones(2, 5, requires_grad=True)
    assert held_bytes(layer, lambda: (layer(x) + layer(x[:1]).sum() + (x * x).sum()).sum()) == 2 * 5 * 4


def test_networks_differ_in_their_blocks_only() -> None:
    plain = PLAIN.network().state_dict()
    torch.rand(1)  # moves the random state on, which must not matter
    normed = BATCH_NORM.network().state_dict()
    outside = [key for key in plain if not key.startswith("body.0.")]
    assert len(outside) == 4 + 2 + 2 + 4  # mean shifts, head, body's end, tail
    assert all(torch.equal(plain[key], normed[key]) for key in outside)
    assert isinstance(BATCH_NORM.network().body[0], BatchNormBlock)
    assert BATCH_NORM.network().training


def test_the_weights_that_are_trained_are_counted_apart() -> None:
    head, block, body, tail = (3 * 9 + 1) * 8, 2 * (8 * 9 + 1) * 8, (8 * 9 + 1) * 8, (8 * 9 + 1) * 32 + (8 * 9 + 1) * 3
    assert weights_bytes(PLAIN) == 4 * (head + block + body + tail)
    assert weights_bytes(BATCH_NORM) == weights_bytes(PLAIN) + 4 * 2 * 2 * 8  # scale and shift of two batch norms


def test_a_process_that_trains_with_batch_norm_grows_more() -> None:
    plain = Training(scale=2, n_resblocks=6, n_feats=16, patch=48, batch=16, kind="edsr")
    normed = dataclasses.replace(plain, kind="edsr-batch-norm")
    more = held_by_blocks(normed) - held_by_blocks(plain)
    assert more > 28e6
    growth = training_peak(plain, 1), training_peak(normed, 1)
    assert growth[0] > held_by_network(plain)
    assert growth[1] - growth[0] == pytest.approx(more, rel=0.25)  # and some working memory


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of benchmark data, tiny."""
    root = tmp_path / "data"
    save_noise(root / "train", count=3, hw=(36, 40))
    for index, name in enumerate(("baby", "bird")):
        hr = noise(48, 52, index)
        save(hr, root / "benchmark" / "Set5" / "HR" / f"{name}.png")
        for scale in (2, 4):
            lr = make_pair(hr, scale).lr
            save(lr, root / "benchmark" / "Set5" / "LR_bicubic" / f"X{scale}" / f"{name}x{scale}.png")
    return root


@dataclasses.dataclass
class Seen:
    """What a training run was given."""

    config: TrainConfig
    scales: tuple[int, ...]
    weights: dict[str, Tensor]
    """Before the first update."""
    model_file: Path
    end: dict[str, Tensor]
    """Of the file that it wrote."""
    plans: list[Plan]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def same_patches(a: list[Plan], b: list[Plan]) -> bool:
    first, second = ([(p.picture, p.top, p.left, p.turns, p.mirror) for p in plans] for plans in (a, b))
    return len(a) == len(b) and bool(np.all(np.array(first) == np.array(second)))


def test_the_whole_measurement_on_tiny_networks_and_pictures(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[Seen] = []
    whole, planned = fit.train, TrainingSet.plan

    def train(
        network: SuperResolutionNetwork, config: TrainConfig, data: TrainingSet, folder: RunFolder, **rest: Any
    ) -> Any:
        weights = {key: value.clone() for key, value in network.state_dict().items()}
        runs.append(Seen(config, network.scales, weights, folder.model_file, {}, []))
        done = whole(network, config, data, folder, **rest)
        runs[-1].end = load_network(folder.model_file).network.state_dict()
        return done

    def plan(self: TrainingSet, seed: int, update: int, batch: int) -> Plan:
        runs[-1].plans.append(planned(self, seed, update, batch))
        return runs[-1].plans[-1]

    monkeypatch.setattr(fit, "train", train)
    monkeypatch.setattr(TrainingSet, "plan", plan)
    output = tmp_path / "result.json"
    arguments = ["--smoke", "--only", "claims", "--data", str(data), "--output", str(output)]
    done = CliRunner().invoke(run.main, arguments)
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(report.main, [str(output)]).stdout == done.stdout
    assert str(tmp_path) not in output.read_text()

    l1, l2, scratch, pretrained, muon = runs
    assert [seen.config.loss for seen in runs] == ["l1", "mse", "l1", "l1", "l1"]
    assert [seen.config.optimizer for seen in runs] == ["adam", "adam", "adam", "adam", "muon"]
    assert [seen.scales for seen in runs] == [(2,), (2,), (4,), (4,), (2,)]
    assert muon.config.lr == RECIPES["edsr-small"].training.lr
    same_options = {"loss": "l1", "optimizer": "adam", "lr": l1.config.lr}
    assert all(dataclasses.replace(seen.config, **same_options) == l1.config for seen in runs)
    assert (l1.config.updates, l1.config.ema, l1.config.precision) == (4, 0.999, "bf16")
    assert same(l1.weights, l2.weights)
    assert not same(l1.end, l2.end)
    assert same(l1.weights, muon.weights)
    assert not same(l1.end, muon.end)
    assert same_patches(l1.plans, l2.plans)
    assert same_patches(l1.plans, muon.plans)
    assert len(l1.plans) == 4
    assert same_patches(scratch.plans, pretrained.plans)
    for key, value in pretrained.weights.items():
        taken_from = scratch.weights if key.startswith("tail.") else l1.end
        assert torch.equal(value, taken_from[key]), key
    assert not same(scratch.weights, pretrained.weights)

    section = json.loads(output.read_text())["results"]["claims"]
    memory, loss, start, optimizer = (section[name] for name in ("memory", "loss", "start", "optimizer"))
    assert optimizer["adam"] == loss["l1"]
    assert optimizer["gain_db"] == optimizer["muon"]["points"][-1]["psnr_db"] - loss["l1"]["points"][-1]["psnr_db"]
    assert (loss["photographs"], start["photographs"]) == (3, 3)
    for curve in (loss["l1"], loss["l2"], start["scratch"], start["pretrained"], optimizer["muon"]):
        assert [point["update"] for point in curve["points"]] == [2, 4]
        assert curve["skipped"] == 0
    assert loss["gain_db"] == loss["l1"]["points"][-1]["psnr_db"] - loss["l2"]["points"][-1]["psnr_db"]
    assert start["gain_db"] == start["pretrained"]["points"][-1]["psnr_db"] - start["scratch"]["points"][-1]["psnr_db"]
    (case,) = memory["cases"]
    for other, part in itertools.product(("srresnet", "batch_norm"), ("blocks", "network", "peak")):
        ratio = case["ours"][f"{part}_bytes"] / case[other][f"{part}_bytes"]
        assert case[f"saved_of_{other}"][part] == pytest.approx(1 - ratio)
    assert case["srresnet"]["blocks_bytes"] > case["batch_norm"]["blocks_bytes"] > case["ours"]["blocks_bytes"]
    assert 1e6 < case["ours"]["peak_bytes"] < 100e6  # PyTorch alone takes more


def test_claims_without_data_are_refused() -> None:
    done = CliRunner(env={"EDSR_DATA": ""}).invoke(run.main, ["--smoke", "--only", "claims"])
    assert done.exit_code == 2
    needed = "claims needs photographs in train/ and benchmark pictures: pass --data, or set EDSR_DATA"
    assert needed in " ".join(done.output.split())


def test_claims_are_measured_only_when_asked_for() -> None:
    assert "claims" not in run.QUICK_MEASUREMENTS


@pytest.mark.parametrize(("end_db", "at"), [(29.4, 200), (29.5, 300), (29.9, None)])
def test_a_curve_passes_where_it_is_first_above(end_db: float, at: int | None) -> None:
    points = [Point(100, 29.0), Point(200, 29.5), Point(300, 29.9)]
    assert claims.first_above(points, end_db) == at


def curve(*psnr_db: float, skipped: int = 0) -> Curve:
    return Curve([Point(250 * (index + 1), value) for index, value in enumerate(psnr_db)], skipped)


def rendered(l2: Curve, scratch: Curve, passes_at: int | None) -> str:
    """The tables of a made-up result: L1 ends at 36.10 dB, the start from x2 at 30.00 dB."""
    sizes = (7550, 8171, 12000, 56), (6040, 6646, 10000, 55), (3020, 3626, 6100, 54)
    srresnet, normed, ours = (Footprint(*(n * 100_000 for n in each)) for each in sizes)
    saved = claims.Saved(0.6, 0.5562, 0.4917), claims.Saved(0.5, 0.4544, -0.012)
    case = MemoryCase(2, srresnet, normed, ours, *saved)
    l1, pretrained, muon = curve(35.5, 36.1), curve(29.8, 30.0), curve(36.2, 36.85)
    result = ClaimsResult(
        "Set5",
        "paper-y",
        "edsr-small",
        500,
        16,
        32,
        MemoryClaim("less memory", "EDSR 16x64", 48, 16, 3, [case]),
        LossClaim("L1 is better", 2, 400, 33.66, l1, l2, l1.end_db - l2.end_db),
        StartClaim("x2 helps", 4, 2, 350, 28.42, scratch, pretrained, pretrained.end_db - scratch.end_db, passes_at),
        OptimizerClaim("Muon is fast", 2, 400, 33.66, 5e-4, 1e-3, l1, muon, muon.end_db - l1.end_db, 250),
        [],
    )
    return SECTIONS["claims"](json.loads(json.dumps(dataclasses.asdict(result)))).document()


def test_what_came_out_stands_beside_what_the_paper_says() -> None:
    rows = rendered(curve(35.4, 36.03), curve(29.0, 29.7), 250).splitlines()
    assert (
        "| less memory | x2, beside SRResNet: 55.6% less kept for the backward pass (60.0% less in the residual "
        "blocks), 49.2% less at the peak of the process; x2, beside the same blocks with batch norm: 45.4% less kept "
        "for the backward pass (50.0% less in the residual blocks), 1.2% more at the peak of the process |"
    ) in rows
    assert "| L1 is better | x2: L1 ends 0.07 dB above L2 (36.10 and 36.03 dB) |" in rows
    assert (
        "| x2 helps | x4 from x2 ends 0.30 dB above that from scratch (30.00 and 29.70 dB) and passes the latter's "
        "end at update 250; the 500 updates of the x2 network are not counted |"
    ) in rows
    assert (
        "| Muon is fast | x2: Muon (peak rate 0.001) ends 0.75 dB above Adam (0.0005; 36.85 and 36.10 dB) and passes "
        "the latter's end at update 250 |"
    ) in rows


def test_what_came_out_may_contradict_the_paper() -> None:
    text = rendered(curve(35.4, 36.104), curve(29.0, 30.2), None)
    assert "| x2: L1 ends level with L2 (36.10 and 36.10 dB) |" in text
    assert "ends 0.20 dB below that from scratch (30.00 and 30.20 dB) and never passes the latter's end;" in text
    assert "x2: L1 ends 0.02 dB below L2 (36.10 and 36.12 dB)" in rendered(curve(35.4, 36.12), curve(29, 29), 250)


def test_tables_of_memory_and_of_both_curves() -> None:
    rows = rendered(curve(35.4, 36.03, skipped=2), curve(29.0, 29.7), 250).splitlines()
    assert "| x2 | SRResNet | 755.0 | 817.1 | 1200.0 | 5.6 |" in rows
    assert "| x2 | with batch norm | 604.0 | 664.6 | 1000.0 | 5.5 |" in rows
    assert "| x2 | ours | 302.0 | 362.6 | 610.0 | 5.4 |" in rows
    assert "#### L1 against L2: edsr-small x2, 400 photographs" in rows
    assert "| update | L1, dB | L2 (MSE), dB | difference, dB |" in rows
    assert "| 250 | 35.500 | 35.400 | +0.100 |" in rows
    assert "* bicubic: 33.660 dB" in rows
    assert "* L2 (MSE): 2 updates were skipped" in rows
    assert "| update | from x2, dB | from scratch, dB | difference, dB |" in rows
    assert "| 250 | 29.800 | 29.000 | +0.800 |" in rows
    assert "| update | Muon, dB | Adam, dB | difference, dB |" in rows
    assert "| 250 | 36.200 | 35.500 | +0.700 |" in rows
