"""A result with every measurement but the training claims, made up: what tables, plots and pages are tested on."""

import dataclasses
import json
from typing import Any

from benchmarks import encode, loader, memory, ring
from benchmarks.cost import measure as cost
from benchmarks.cost.count import Layer
from benchmarks.cost.totals import Count
from benchmarks.device import COPIES
from benchmarks.field import run_time, training
from benchmarks.latency import offline, single_stream
from benchmarks.latency.ceilings import Ceiling
from benchmarks.machine import Commit, describe_machine
from benchmarks.quality import measure as quality
from benchmarks.quality import models, seams
from benchmarks.scaling import measure as scaling
from benchmarks.scaling import startup
from benchmarks.settings import Settings
from benchmarks.targets import at_least, at_most
from benchmarks.timing import Effort, Percentiles, Spread
from benchmarks.training_run import Point

NONE = COPIES["CPU"]
OURS = "edsr_x4: openvino (auto: the fastest on CPUs), bf16 on CPU, AMX"


def made_up(**sections: Any) -> dict[str, Any]:
    """A result as read from a file, of a quiet machine, with these sections."""
    machine = dataclasses.replace(describe_machine(), cpu="Imagined CPU", cpu_flags=("avx512f", "amx_bf16"), gpus=())
    return json.loads(
        json.dumps(
            {
                "date": "2025-01-31T12:00:00+00:00",
                "commit": dataclasses.asdict(Commit("0123456789abcdef", modified=False)),
                "machine": dataclasses.asdict(machine),
                "versions": {"openvino": "2025.2", "torch": "2.13.0"},
                "load_before": (0.12, 0.3, 0.4),
                "load_after": (1.9, 1.0, 0.5),
                "seconds": {"cost": 5.2, "latency": 61.0},
                "others_share": 0.01,
                "loaded": "",
                "quick": False,
                "smoke": False,
                "arguments": {"measurements": list(sections), "with_data": True, **dataclasses.asdict(Settings())},
                "skipped": {},
                "results": {name: dataclasses.asdict(section) for name, section in sections.items()},
            }
        )
    )


def whole_result() -> dict[str, Any]:
    """With every section below."""
    return made_up(
        cost=cost_section(),
        latency=latency_section(),
        models=models.ModelsResult(
            (192, 256),
            [
                models.ModelRow("edsr-small_x2", 2, Spread(20, 19, 21, 10)),
                models.ModelRow("edsr-small_x4", 4, Spread(25, 24, 26, 10)),
            ],
            [],
        ),
        offline=offline_section(),
        ring=ring_section(),
        quality=quality_section(),
        seams=seams_section(),
        encode=encode_section(),
        scaling=scaling_section(),
        startup=startup_section(),
        loader=loader_section(),
        memory=memory_section(),
        field=field_section(),
        **{"field-latency": field_latency_section()},
    )


def cost_section() -> cost.CostResult:
    def count(giga: float) -> Count:
        each = {"HR 1280x720": giga * 1e9, "LR 256x256": giga * 0.5e9, "HR 128x128": giga * 0.018e9}
        return Count(each, giga / 100, 67_108_864, 36)

    beside = cost.Beside("somebody", "HR 1280x720", "1,518K", 1_517_571, False, True, "114.2G", True, "")
    others = [cost.MultAddsBeside("others", "HR 128x128", "2.06G", True)]
    rows = [
        cost.CostRow("EDSR-baseline", 4, 1_517_571, count(114.23), count(74.56), beside, others),
        cost.CostRow("edsr-small_x2", 2, 427_000, None, count(98.25), None),
        cost.CostRow("edsr-small_x4", 4, 484_848, count(28.5), count(27.88), None),
    ]
    layers = [Layer("head.0", "Conv", (64, 3, 3, 3), (192, 256), 1792, 84_934_656)]
    return cost.CostResult(rows, [cost.LayersOf("EDSR x4, as trained", (192, 256), layers)], {"VDSR": "not yet"}, [])


def latency_row(name: str, kind: str, p50: float, times: float, **changes: Any) -> single_stream.LatencyRow:
    row = single_stream.LatencyRow(
        name,
        kind,
        "folded" if kind == "ours" else "unfolded",
        OURS if kind == "ours" else "PyTorch",
        NONE,
        Percentiles(p50, p50 * 1.1, p50 * 1.2, p50 * 1.3, 120, p50 * 0.12),
        Spread(times, times * 0.9, times * 1.1, 10),
        640.0,
        0.5,
        True,
        1,
        0.021,
        [],
    )
    return dataclasses.replace(row, **changes)


def latency_section() -> single_stream.LatencyResult:
    rows = [
        latency_row("torch-eager-fp32", "peer", 2000, 1, max_difference=0, changed_share=0.0, share_of_ceiling=None),
        latency_row("peer-ncnn", "peer", 900, 2.2, share_of_ceiling=1.3, is_valid=False),
        latency_row("auto", "ours", 80, 25),
        latency_row("openvino-fp32", "ours", 160, 12.5),
        latency_row(
            "null", "null", 0.001, 2e6, gflops=None, share_of_ceiling=None, max_difference=None, changed_share=None
        ),
    ]
    case = single_stream.LatencyCase(4, rows, Spread(1.75, 1.7, 1.8, 10), "auto", {"peer-opencv": "not today"})
    targets = [
        at_least("x4, auto", 24, 25.0, "times"),
        at_least("x4, no collapse", 1.6, 1.5, "times"),
        at_least("x2, auto", 9, 5.0, "times", unless="the CPU has no AMX"),
    ]
    ceilings = [
        Ceiling("PyTorch GEMM 2048, fp32", "fp32", 1280.0, 1270.0, "GFLOP/s"),
        Ceiling("copy", "memory", 41.3, 40.0, "GB/s"),
    ]
    network = "EDSR-baseline 16x64, random weights"
    return single_stream.LatencyResult(network, (192, 256), Effort(10), ceilings, [case], targets)


def offline_section() -> offline.OfflineResult:
    rows = [
        offline.OfflineRow(
            "torch-eager-fp32", "peer", offline.FOLDERS, Spread(0.5, 0.4, 0.6, 5), Spread(1, 1, 1, 5), NONE
        ),
        offline.OfflineRow("auto", "ours", offline.FOLDERS, Spread(12.34, 12, 13, 5), Spread(24.7, 24, 25, 5), NONE),
    ]
    return offline.OfflineResult(
        "EDSR-baseline", 2, (192, 256), 16, Effort(5), rows, {"torch-compile-fp32": "slow"}, []
    )


def ring_section() -> ring.RingResult:
    row = ring.RingRow(
        2, "openvino-bf16", OURS, Spread(50, 49, 52, 40), Spread(1.23, -0.5, 2, 40), Spread(0, -1, 1, 40)
    )
    return ring.RingResult("EDSR-baseline", (192, 256), [row], {}, [at_most("ring", 3, 1.23, "%")])


def quality_section() -> quality.QualityResult:
    def case(model: str, scale: int, bicubic: float, psnr: float, **changes: Any) -> quality.QualityCase:
        rows = [
            quality.QualityRow("torch-eager-fp32", "", psnr, 0.9587, 0, 0, 0, 0, 0),
            quality.QualityRow("openvino-fp32", "", psnr, 0.9587, -0.000001, 0.000001, 3e-5, 3e-4, 0),
            quality.QualityRow("openvino-bf16", "", psnr - 0.0042, 0.9586, 0.0042, 0.0051, 0.143, 1.1, 0.0988),
            quality.QualityRow("openvino-fp32-ensemble", "", psnr + 0.119, 0.9594, -0.119, -0.05, 0.5, 9.0, 0.4),
        ]
        published = [
            quality.PublishedRow("bicubic", 33.66, 0.9299),
            quality.PublishedRow("A+", 36.54, 0.9544),
            quality.PublishedRow("VDSR", 37.53, 0.9587),
            quality.PublishedRow("LESRCNN", 37.65, None),
        ]
        found = quality.QualityCase(
            model, scale, True, "Set5", 5, 0, "paper-y", "torch-eager-fp32", bicubic, 0.9301, rows, published, {}
        )
        return dataclasses.replace(found, **changes)

    cases = [
        case("edsr-small_x2", 2, 33.673, 37.404),
        case("edsr-small_x4", 4, 28.43, 31.355),
        case("edsr-small_x2", 2, 31.0, 34.5, set="3 of DIV2K_valid", protocol="paper-div2k", published=[], pictures=3),
    ]
    return quality.QualityResult(cases, [at_most("loss", 0.01, 0.0042, "dB")])


def seams_section() -> seams.SeamsResult:
    rows = [seams.SeamRow(0, False, 48, 12.3, 0.08), seams.SeamRow(36, True, 48, 2.4e-5, 0.0)]
    return seams.SeamsResult("edsr-baseline_x2", (192, 256), 32, rows, [])


def encode_section() -> encode.EncodeResult:
    row = encode.EncodeRow("edsr-upscale", Spread(0.05, 0.049, 0.06, 10), Spread(7.1, 7, 8, 10), 8_540_000)
    return encode.EncodeResult(
        "EDSR-baseline", OURS, (512, 512), (2048, 2048), "0802", Spread(0.66, 0.65, 0.7, 10), [row], []
    )


def scaling_section() -> scaling.ScalingResult:
    def point(x: float, seconds: float, grown: int) -> scaling.Point:
        return scaling.Point(x, seconds, x / seconds, 300_000_000 + grown, grown, 1, 0.01, None, grown // 2)

    picture = scaling.Curve(
        "picture", "LR megapixels", [point(0.1, 0.11, 50_000_000), point(1, 1.0, 90_000_000)], 0.96, 0.26, False, []
    )
    tile = scaling.Curve(
        "tile", "side, LR pixels", [point(64, 9, 10_000_000), point(512, 4, 90_000_000)], None, 1.0, False, []
    )
    batch = scaling.Curve(
        "batch", "pictures", [point(1, 0.1, 10_000_000), point(4, 0.6, 50_000_000)], 1.29, 1.16, True, [4]
    )
    return scaling.ScalingResult("edsr-small_x2", 256, [picture, tile, batch], [])


def startup_section() -> startup.StartupResult:
    rows = [startup.StartupRow(startup.COMMAND, True, Spread(0.71, 0.7, 0.75, 10))]
    return startup.StartupResult("edsr-small_x4", (256, 256), rows, [])


def loader_section() -> loader.LoaderResult:
    row = loader.LoaderRow(
        4, 48, "edsr-small", Spread(9001.4, 8000, 9500, 10), Spread(410, 400, 420, 10), Spread(21.9, 20, 23, 10)
    )
    return loader.LoaderResult(16, (1356, 2040), 32, 2, [row], [])


def memory_section() -> memory.MemoryResult:
    large = memory.MemoryRow(2, (10000, 10000), (20000, 20000), 412.3, 1_234_000_000, 170_000_000, 700_000_000)
    return memory.MemoryResult("edsr-small", [large], [])


def field_section(**gains_db: float) -> training.FieldResult:
    """Bicubic at 33.673 dB, and these networks so much above it; in the order of the field if nothing is said."""
    gains_db = gains_db or {"edsr": 2.5, "srresnet": 2.25, "vdsr": 1.5, "srcnn": 0.75}
    named = {name.replace("edsr", "edsr-baseline"): gain for name, gain in gains_db.items()}
    rows = [
        training.FieldRow(
            name,
            1_369_859,
            316.25e9 / 4**index,
            1000,
            400.4,
            [Point(500, 33.0 + gain), Point(1000, 33.673 + gain)],
            index % 2,
            33.673 + gain,
            gain,
        )
        for index, (name, gain) in enumerate(named.items())
    ]
    psnr_db = {"bicubic": 33.673} | {row.network: row.psnr_db for row in rows}
    order = sorted(psnr_db, key=lambda name: -psnr_db[name])
    reversals = training.find_reversals(psnr_db)
    sizes = (1000, 16, 24, 1, 33.673)
    known = ("Set5", "paper-y", 2, "HR 1280x720", 532, "edsr-small")
    return training.FieldResult(*known, *sizes, rows, order, not reversals, reversals, [], [])


def field_latency_section() -> run_time.RunTimeResult:
    def row(network: str, engine: str, p50: float, times: float) -> run_time.RunTimeRow:
        said = "PyTorch eager, FP32, unfolded, 2 threads" if engine != "auto" else OURS
        latency = Percentiles(p50, p50 * 1.1, None, p50 * 1.2, 35, p50 * 0.035)
        return run_time.RunTimeRow(
            network, engine, said, latency, Spread(times, times * 0.9, times * 1.1, 7), engine == "auto", []
        )

    rows = [
        row("vdsr", "torch-eager-fp32", 1250, 3.125),
        row("lesrcnn", "torch-eager-fp32", 400, 1),
        row("vdsr", "auto", 300, 6),
        row("lesrcnn", "auto", 50, 1),
    ]
    case = run_time.RunTimeCase((512, 512), rows)
    return run_time.RunTimeResult(2, "lesrcnn", 2, Effort(7), [case], [])
