"""What a soak wrote is what the document shows, part by part with its own date, machine and commit."""

import json
from pathlib import Path
from typing import Any

import pytest

import survival_table as table
from tests.robustness import run

HERE = Path(__file__).parent
PART: dict[str, Any] = {
    "when": "2026-01-02T03:04:05+00:00",
    "seconds": 90,
    "machine": {"cpu": "A CPU", "cores": 2},
    "commit": {"id": "0123456789abcdef", "modified": False},
    "busy": "",
    "exit_code": 0,
    "tried": 2,
    "survived": 2,
    "tests": [
        {
            "test": "tests/robustness/test_a.py::test_b[all]",
            "outcome": "passed",
            "seconds": 1.0,
            "onnx": {"refused": 9, "judged": True, "rounds": [{"a": 0.25}, {"a": 1}]},
        },
        {"test": "tests/robustness/test_a.py::test_c", "outcome": "passed", "seconds": 1.0},
    ],
}
FAILED: dict[str, Any] = PART | {
    "commit": None,
    "busy": "others took 9% of the processor while it was measured",
    "exit_code": 1,
    "tried": 1,
    "survived": 0,
    "tests": [{"test": "tests/robustness/test_a.py::test_d", "outcome": "failed", "seconds": 1.0}],
}


def test_numbers_failures_and_where_each_part_was_run_are_shown() -> None:
    text = table.filled(f"before\n{table.BEGIN}old\n{table.END}\nafter\n", {"parts": {"kills": PART, "soak": FAILED}})
    assert text == (
        f"before\n{table.BEGIN}"
        "| part | survived | minutes | when | commit | machine |\n| --- | --- | --- | --- | --- | --- |\n"
        "| kills | 2 of 2 | 1.5 | 2026-01-02 | 0123456789ab | A CPU, 2 cores |\n"
        "| soak | 0 of 1 | 1.5 | 2026-01-02 | unknown | A CPU, 2 cores; others took 9% of the processor while it was "
        "measured |\n\n"
        "| what | outcome | numbers |\n| --- | --- | --- |\n"
        "| `test_a.py::test_b[all]` | passed | onnx: refused: 9, judged: yes, rounds: (a: 0.25); (a: 1) |\n"
        "| `test_a.py::test_d` | failed |  |\n"
        f"{table.END}\nafter\n"
    )


@pytest.mark.parametrize(
    ("change", "survived"),
    [({}, True), ({"exit_code": 1}, False), ({"survived": 1}, False), ({"tried": 0, "survived": 0}, False)],
)
def test_a_part_has_survived_if_all_of_it_was_tried_and_went_well(change: dict[str, int], survived: bool) -> None:
    assert run.has_survived(PART | change) == survived


def test_a_part_is_left_until_it_has_survived_on_this_very_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "current_commit", lambda: PART["commit"])
    known = {"kills": PART, "soak": FAILED}
    assert [run.is_left(name, known) for name in ("kills", "soak", "ray")] == [False, True, True]
    for commit in ({"id": "0123456789abcdef", "modified": True}, {"id": "f", "modified": False}, None):
        monkeypatch.setattr(run, "current_commit", lambda commit=commit: commit)
        assert run.is_left("kills", known)


def test_parts_that_are_run_take_their_place_and_leave_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(table, "RESULT", tmp_path / "r.json")
    monkeypatch.setattr(table, "DOCUMENT", tmp_path / "r.md")
    table.RESULT.write_text(json.dumps({"parts": {"soak": FAILED, "ray": PART}}))
    table.DOCUMENT.write_text(f"{table.BEGIN}{table.END}")
    ran: list[str] = []

    def part(name: str, more: list[str]) -> dict[str, Any]:
        ran.append(name)
        return FAILED if name == "kills" else PART | {"seconds": 600}

    monkeypatch.setattr(run, "run_part", part)
    monkeypatch.setattr("sys.argv", ["run.py", "--only", "soak,kills"])
    assert run.main() == 1
    assert ran == ["soak", "kills"]
    parts = json.loads(table.RESULT.read_text())["parts"]
    assert list(parts) == ["kills", "soak", "ray"]
    assert (parts["kills"], parts["soak"]["seconds"], parts["ray"]) == (FAILED, 600, PART)
    assert "| soak | 2 of 2 | 10.0 |" in table.DOCUMENT.read_text()
    assert capsys.readouterr().err == "not survived: kills\n"
    monkeypatch.setattr("sys.argv", ["run.py", "--only", "soaks"])
    with pytest.raises(SystemExit, match="2"):
        run.main()


def test_every_test_of_this_folder_belongs_to_one_part() -> None:
    named = [test.partition("::")[0] for part in run.PARTS.values() for test in part]
    assert set(named) == {path.name for path in HERE.glob("test_*.py")} - {Path(__file__).name}
    costs = (HERE / "test_costs.py").read_text()
    assert sorted(test.partition("::")[2] for part in run.PARTS.values() for test in part if "::" in test) == sorted(
        line.split()[1].partition("(")[0] for line in costs.splitlines() if line.startswith("def test_")
    )


@pytest.mark.skipif(not table.RESULT.exists(), reason="make soak has not been run yet")
def test_the_document_shows_the_last_result() -> None:
    document = table.DOCUMENT.read_text()
    assert document == table.filled(document, json.loads(table.RESULT.read_text()))
