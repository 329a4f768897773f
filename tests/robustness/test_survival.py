"""What a soak wrote is what the document shows."""

import json

import pytest

import survival_table as table

FOUND = {
    "when": "2026-01-02T03:04:05+00:00",
    "machine": {"system": "Linux", "cores": 2},
    "tried": 3,
    "survived": 2,
    "tests": [
        {
            "test": "tests/robustness/test_a.py::test_b[all]",
            "outcome": "passed",
            "seconds": 1.0,
            "onnx": {"refused": 9},
        },
        {"test": "tests/robustness/test_a.py::test_c", "outcome": "passed", "seconds": 1.0},
        {"test": "tests/robustness/test_a.py::test_d", "outcome": "failed", "seconds": 1.0},
    ],
}


def test_numbers_and_failures_are_shown() -> None:
    text = table.filled(f"before\n{table.BEGIN}old\n{table.END}\nafter\n", FOUND)
    assert text == (
        f"before\n{table.BEGIN}"
        "3 tests on 2026-01-02, 2 survived (Linux, 2 cores).\n\n"
        "| what | outcome | numbers |\n| --- | --- | --- |\n"
        "| `test_a.py::test_b[all]` | passed | onnx: refused: 9 |\n"
        "| `test_a.py::test_d` | failed |  |\n"
        f"{table.END}\nafter\n"
    )


@pytest.mark.skipif(not table.RESULT.exists(), reason="make soak has not been run yet")
def test_the_document_shows_the_last_result() -> None:
    document = table.DOCUMENT.read_text()
    assert document == table.filled(document, json.loads(table.RESULT.read_text()))
