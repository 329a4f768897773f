"""The matrix of engines: that it is complete, and that what was foretold holds for networks of the paper's size."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import engines
from benchmarks.engines import NETWORKS, SCALES, Build, Network, Variant, build, main, render, summarise, variants
from benchmarks.result_file import read_stored
from edsr_runtime.errors import EdsrError
from edsr_runtime.trt.flavour import load_flavour

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _rtx() -> None:
    try:
        load_flavour("rtx")
    except EdsrError as err:
        pytest.skip(str(err))


def test_the_matrix_has_every_combination_once() -> None:
    everything = variants(tuple(NETWORKS), SCALES, everything=True)
    assert len(everything) == len(set(everything)) == 4 * 3 * 2 * 2 * 2 * 2
    plain = variants(tuple(NETWORKS), SCALES, everything=False)
    assert len(plain) == 4 * 3 * 2 and set(plain) < set(everything)


def test_the_command_keeps_what_it_has_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engines.NETWORKS, "edsr-baseline", Network("edsr", 1, 8))
    output = tmp_path / "engines.json"
    words = ["--network", "edsr-baseline", "--scale", "2", "--tile", "64", "--batch", "1", "--output", str(output)]
    first = CliRunner().invoke(main, words, catch_exceptions=False)
    assert first.exit_code == 0, first.stderr
    result = json.loads(output.read_text())
    uncollapsed, collapsed = result["builds"]
    assert (uncollapsed["variant"]["collapse_tail"], collapsed["variant"]["collapse_tail"]) == (False, True)
    for built in result["builds"]:
        assert built["size"] == [1, 64, 64] and built["activations"] > 0 and len(built["proofs"]) == 2
    assert f"0 of 2 engines are in {output}; stopped, it goes on with --output {output}" in first.stderr
    monkeypatch.setattr(engines, "build", lambda *_: pytest.fail("built again"))
    again = CliRunner().invoke(main, words, catch_exceptions=False)
    assert again.stdout == first.stdout and "| edsr-baseline x2 fp16 float uncollapsed | 1x64x64 |" in first.stdout
    for changes, complaint in (
        ({"measurement": "speed"}, "holds something else; pass another --output"),
        ({"versions": {"tensorrt_rtx": "1.6.0"}}, "was begun with TensorRT-RTX 1.6.0, and here is 1."),
        ({"machine": {"cpu": "an abacus"}}, "was begun with a CPU an abacus, and here is "),
    ):
        output.write_text(json.dumps({**result, **changes}))
        assert complaint in CliRunner().invoke(main, words).stderr


def test_what_was_built_before_it_was_stopped_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Variant] = []

    def stopped_at_the_third(variant: Variant, folder: Path, batch: int, tile: int) -> Build:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(variant)
        return Build(variant, (batch, tile, tile), 0.1, ("a proof",), 1, 3, 2, 1, 1, 1.0, 1.0, True)

    monkeypatch.setattr(engines, "build", stopped_at_the_third)
    words = ["--network", "mdsr", "--output", str(tmp_path / "engines.json")]
    assert CliRunner().invoke(main, words).exit_code != 0
    before = done.copy()
    assert [Variant(**b["variant"]) for b in read_stored(tmp_path / "engines.json")["builds"]] == before
    done.clear()
    again = CliRunner().invoke(main, words)
    assert f"2 of 6 engines are in {tmp_path / 'engines.json'}" in again.stderr
    assert done == variants(("mdsr",), SCALES, everything=False)[2:4], "it goes on where it was"


@pytest.mark.slow
def test_two_are_built_side_by_side(tmp_path: Path) -> None:
    words = ["--network", "edsr-baseline", "--scale", "2", "--tile", "64", "--batch", "1", "--jobs", "2"]
    done = CliRunner().invoke(main, [*words, "--output", str(tmp_path / "engines.json")], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    builds = read_stored(tmp_path / "engines.json")["builds"]
    assert [b["variant"]["collapse_tail"] for b in builds] == [False, True], "in the order of the matrix"


def test_the_table_says_how_far_the_memory_falls_and_what_was_not_foretold() -> None:
    variant = {"network": "edsr", "scale": 4, "precision": "fp16", "io": "float", "self_ensemble": False}
    base = {"size": [8, 256, 256], "predicted_at_least": 9_000_000, "predicted_at_most": 9_400_000, "weights": 1e6}
    base |= {"build_seconds": 1.0, "foretold": True}
    builds = [
        {**base, "variant": {**variant, "collapse_tail": False}, "activations": 80_000_000, "foretold": False},
        {**base, "variant": {**variant, "collapse_tail": True}, "activations": 10_000_000},
    ]
    assert render(builds).splitlines()[2:] == [
        "| edsr x4 fp16 float uncollapsed | 8x256x256 | 9 | 80 (!) |  | 1.0 | 1.0 |",
        "| edsr x4 fp16 float | 8x256x256 | 9 | 10 | 8.0 | 1.0 | 1.0 |",
    ]


def test_the_summary_has_a_line_for_every_kind() -> None:
    variant = {"network": "edsr", "scale": 4, "precision": "fp16", "io": "float", "self_ensemble": False}
    base = {"parity": 0.02, "predicted_at_most": 10}
    builds = [
        {**base, "variant": {**variant, "collapse_tail": False}, "activations": 40},
        {**base, "variant": {**variant, "collapse_tail": True}, "activations": 8, "parity": 0.03},
        {**base, "variant": {**variant, "io": "uint8", "collapse_tail": True}, "activations": 9, "parity": 0.5},
        {**base, "variant": {**variant, "self_ensemble": True, "collapse_tail": True}, "activations": 12},
    ]
    assert summarise(builds).splitlines()[2:] == [
        "| edsr fp16 | 3 | 0.03 | 0.80 to 4.00 | 5.0 to 5.0 |",
        "| edsr fp16 ensemble | 1 | 0.02 | 1.20 to 1.20 |  |",
    ]


def _tables_from(kind: str) -> list[tuple[dict[str, Any], list[str]]]:
    """Results and the rows that the document says come from them."""
    text = (ROOT / "runtime/TENSORRT.md").read_text()
    tables = re.finditer(rf"<!-- from: (\S+-{kind}\.json) -->\n((?:\|.*\n)+)", text)
    return [(read_stored(ROOT / table[1]), table[2].splitlines()) for table in tables]


def test_the_tables_in_the_document_are_what_was_measured() -> None:
    ((result, rows),) = _tables_from("engines")
    assert rows == render(result["builds"]).splitlines()
    assert all(built["foretold"] for built in result["builds"])
    ((result, rows),) = _tables_from("engines-all")
    assert rows == summarise(result["builds"]).splitlines()
    assert {Variant(**built["variant"]) for built in result["builds"]} == set(variants(tuple(NETWORKS), SCALES, True))


@pytest.mark.slow
@pytest.mark.parametrize("variant", variants(tuple(NETWORKS), SCALES, everything=False), ids=str)
def test_networks_of_the_papers_size_build_as_foretold(variant: Variant, tmp_path: Path) -> None:
    built = build(variant, tmp_path, batch=8, tile=128)
    assert built.foretold and len(built.proofs) == 2


@pytest.mark.slow
@pytest.mark.parametrize("variant", variants(("edsr-baseline",), (4,), everything=True), ids=str)
def test_every_form_of_the_baseline_builds_as_foretold(variant: Variant, tmp_path: Path) -> None:
    built = build(variant, tmp_path, batch=1, tile=256)
    assert len(built.proofs) == 2
    assert built.foretold or variant.self_ensemble
