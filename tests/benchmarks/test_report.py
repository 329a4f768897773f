"""Tables say what the numbers say."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import encode, loader, memory, psnr, ring, sets, speed
from benchmarks.machine import Commit, describe_machine
from benchmarks.report import render, warnings
from benchmarks.result_file import read_result, write_result
from benchmarks.settings import MEASUREMENTS, Settings
from benchmarks.targets import at_least, at_most
from benchmarks.timing import Spread
from edsr_runtime.errors import DataError

OURS = "edsr_x4: openvino (auto: the fastest on CPUs), bf16 on CPU, AMX"


def made_up(**sections: Any) -> dict[str, Any]:
    """A result as read from a file, of a quiet machine, with these sections."""
    machine = dataclasses.replace(describe_machine(), cpu="Imagined CPU", cpu_flags=("avx512f", "amx_bf16"))
    return json.loads(
        json.dumps(
            {
                "date": "2025-01-31T12:00:00+00:00",
                "commit": dataclasses.asdict(Commit("0123456789abcdef", modified=False)),
                "machine": dataclasses.asdict(machine),
                "versions": {"openvino": "2025.2", "torch": "2.13.0"},
                "load_before": (0.12, 0.3, 0.4),
                "load_after": (1.9, 1.0, 0.5),
                "loaded": False,
                "smoke": False,
                "arguments": {"measurements": list(sections), "with_data": True, **dataclasses.asdict(Settings())},
                "skipped": {},
                "results": {name: dataclasses.asdict(section) for name, section in sections.items()},
            }
        )
    )


def speed_section() -> speed.SpeedResult:
    rows = [
        speed.SpeedRow("torch-eager-fp32", "PyTorch", Spread(2000, 1990, 2100, 10), Spread(1, 1, 1, 10), 0, 0.0, []),
        speed.SpeedRow("auto", OURS, Spread(80, 78, 91, 10), Spread(25, 22.5, 26.1, 10), 1, 0.021, []),
    ]
    case = speed.SpeedCase(4, 1, rows, Spread(1.75, 1.7, 1.8, 10), {"openvino-fp32": "not today"})
    targets = [
        at_least("x4, auto", 24, 25.0, "times"),
        at_least("x4, no collapse", 1.6, 1.5, "times"),
        at_least("x2, auto", 9, 5.0, "times", unless="the CPU has no AMX"),
    ]
    return speed.SpeedResult("EDSR-baseline 16x64, random weights", (192, 256), 2, [case], targets)


def test_speed_table() -> None:
    text = render(made_up(speed=speed_section()))
    assert "### Speed: EDSR-baseline 16x64, random weights, 192x256 LR, uint8 array to uint8 array" in text
    assert "10 rounds" in text
    assert "| x4 | PyTorch eager FP32 | 2000.0 (1990.0 to 2100.0) | 1.00 (1.00 to 1.00) | 0 | 0.0% |" in text
    assert "| x4 | edsr-toolkit, auto | 80.0 (78.0 to 91.0) | 25.00 (22.50 to 26.10) | 1 | 2.1% |" in text
    assert "* auto is openvino (auto: the fastest on CPUs), bf16 on CPU, AMX" in text
    assert "* x4: 1.75 (1.70 to 1.80) times as fast as without tail collapse" in text
    assert "* openvino-fp32 is missing: not today" in text


def test_targets_are_met_missed_or_do_not_apply() -> None:
    text = render(made_up(speed=speed_section()))
    assert "| x4, auto | at least 24 times | 25 times | yes |" in text
    assert "| x4, no collapse | at least 1.6 times | 1.5 times | **no** |" in text
    assert "| x2, auto | at least 9 times | 5 times | does not apply: the CPU has no AMX |" in text


def test_ring_table() -> None:
    row = ring.RingRow(
        2, "openvino-bf16", OURS, Spread(50, 49, 52, 40), Spread(1.23, -0.5, 2, 40), Spread(0, -1, 1, 40)
    )
    section = ring.RingResult("EDSR-baseline", (192, 256), [row], {}, [at_most("ring", 3, 1.23, "%")])
    text = render(made_up(ring=section))
    assert "| x2 | OpenVINO BF16 | 50.0 (49.0 to 52.0) | 1.2 (-0.5 to 2.0) | 0.0 (-1.0 to 1.0) |" in text


def test_quality_table_and_the_gain_of_the_ensemble() -> None:
    rows = [
        psnr.QualityRow("torch-eager-fp32", "", 37.6512, 0, 0, 0, 0, 0),
        psnr.QualityRow("openvino-fp32", "", 37.6512, -0.000001, 0.000001, 3e-5, 3e-4, 0),
        psnr.QualityRow("openvino-bf16", "", 37.6470, 0.0042, 0.0051, 0.143, 1.1, 0.0988),
    ]
    case = psnr.QualityCase("edsr_x2", 2, "torch-eager-fp32", rows, [psnr.EnsembleRow("openvino-fp32", 37.77, 0.119)])
    section = psnr.PsnrResult("Set5", "paper-y", 5, [case], {}, [at_most("loss", 0.01, 0.0042, "dB")])
    text = render(made_up(psnr=section))
    assert "### Quality: Set5 (5 pictures), `paper-y`" in text
    assert "| edsr_x2 | OpenVINO FP32 | 37.651 | +0.0000 | +0.0000 | 3e-05 | 0.0003 | 0.00% |" in text
    assert "| edsr_x2 | OpenVINO BF16 | 37.647 | +0.0042 | +0.0051 | 0.14 | 1.1 | 9.88% |" in text
    assert "* edsr_x2 with self-ensemble, OpenVINO FP32: 37.770 dB (+0.119 dB)" in text


def test_scores_of_shipped_models_beside_bicubic_and_published_ones() -> None:
    scores = [
        sets.SetScore("edsr-baseline", 2, "Set5", 5, 37.8012, 0.95987, 33.673, 0.9303, 37.98),
        sets.SetScore("edsr-small", 4, "10 of Urban100", 10, 25.5, 0.76, 23.1, 0.65, None),
    ]
    target = at_least("PSNR of edsr-baseline x2 on Set5", 37.80, 37.8012, "dB")
    text = render(made_up(sets=sets.SetsResult("paper-y", "openvino-fp32", scores, [target])))
    assert "| edsr-baseline_x2 | Set5 | 37.801 / 0.9599 | 33.673 / 0.9303 | 37.98 |" in text
    assert "| edsr-small_x4 | 10 of Urban100 | 25.500 / 0.7600 | 23.100 / 0.6500 |  |" in text
    assert "| PSNR of edsr-baseline x2 on Set5 | at least 37.8 dB | 37.8 dB | yes |" in text


def test_encoding_and_memory_tables() -> None:
    row = encode.EncodeRow("edsr-upscale", Spread(0.05, 0.049, 0.06, 10), Spread(7.1, 7, 8, 10), 8_540_000)
    encoding = encode.EncodeResult(
        "EDSR-baseline", OURS, (512, 512), (2048, 2048), "0802", Spread(0.66, 0.65, 0.7, 10), [row], []
    )
    large = memory.MemoryRow(2, (10000, 10000), (20000, 20000), 412.3, 1_234_000_000, 170_000_000, 700_000_000)
    text = render(made_up(encode=encoding, memory=memory.MemoryResult("edsr-small", [large], [])))
    assert "| edsr-upscale | 0.050 (0.049 to 0.060) | 7.1 (7.0 to 8.0) | 8.54 |" in text
    assert "| x2 | 10000x10000 | 20000x20000 | 1.23 | 412 | 170 -> 700 |" in text
    assert "### Targets" not in text


def test_loader_table() -> None:
    row = loader.LoaderRow(
        4, 48, "edsr-small", Spread(9001.4, 8000, 9500, 10), Spread(410, 400, 420, 10), Spread(21.9, 20, 23, 10)
    )
    section = loader.LoaderResult(16, (1356, 2040), 32, 2, [row], [])
    text = render(made_up(loader=section))
    assert "Batches of 32 from 16 pictures of 1356x2040, beside updates in bfloat16 that never wait; 10 rounds." in text
    assert "| x4 | 48 | edsr-small | 9001 (8000 to 9500) | 410 (400 to 420) | 21.9 (20.0 to 23.0) |" in text


def test_the_circumstances_stand_above_the_tables() -> None:
    lines = render(made_up()).splitlines()
    assert lines[0].startswith("* Imagined CPU (")
    assert lines[0].endswith("avx512f, amx_bf16)")
    assert lines[1].startswith("* openvino 2025.2, torch 2.13.0; Python 3.")
    assert lines[2] == "* 2025-01-31T12:00:00+00:00, commit 0123456789ab, load average 0.12 -> 1.90"
    assert len(lines) == 3


def test_a_loaded_machine_a_smoke_run_and_changed_files_are_said() -> None:
    result = made_up()
    assert warnings(result) == []
    result |= {"loaded": True, "smoke": True, "load_before": [2.5, 1, 1]}
    result["commit"]["modified"] = True
    said = warnings(result)
    assert len(said) == 3
    assert "busy before the start (load average 2.50)" in "".join(said)
    assert all(f"**{line}**" in render(result) for line in said)


def test_what_was_left_out_or_broke_off_is_said() -> None:
    result = made_up(speed=speed_section())
    result["arguments"]["measurements"] = ["speed", "psnr", "encode"]
    result["skipped"] = {"psnr": "no benchmark data"}
    text = render(result)
    assert "* psnr was left out: no benchmark data\n* encode was not finished" in text


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    result = made_up(speed=speed_section())
    path = tmp_path / "new folder" / "result.json"
    write_result(path, result)
    read = read_result(path)
    assert read.pop("schema_version") == 1
    assert read == result
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


def test_a_result_that_cannot_be_json_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_result(path, {"psnr": 37.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_result(path, {"psnr": float("nan")})
    assert read_result(path)["psnr"] == 37.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("{", "is not JSON"),
        ("[]", "schema version None, expected 1"),
        ('{"schema_version": 2}', "schema version 2, expected 1"),
    ],
)
def test_a_file_that_is_no_result_is_refused_in_one_sentence(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_result(path)


def test_every_measurement_has_a_table() -> None:
    from benchmarks.report import _SECTIONS

    assert set(_SECTIONS) == set(MEASUREMENTS)
