"""The README's promises: every line names its test, and the test is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADING = "## What is promised"


def promises(text: str) -> list[tuple[str, list[str]]]:
    """Every line of the table: the promise, and the tests it names."""
    section = text.split(f"{HEADING}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")][2:]
    return [(row[0].strip(), re.findall(r"`(tests/[\w/]+\.py::\w+)`", row[-1])) for row in rows]


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    path = ROOT / file
    if not path.is_file():
        return False
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    return name.startswith("test_") and any(function.name == name for function in found)


def test_every_promise_names_a_test_that_exists() -> None:
    found = promises((ROOT / "README.md").read_text())
    assert len(found) >= 12
    assert [promise for promise, tests in found if not tests] == []
    assert [test for _, tests in found for test in tests if not exists(test)] == []


def test_a_promise_without_its_test_is_noticed() -> None:
    rows = "| a | b |\n|---|---|\n| It flies. | `tests/test_no.py::test_x` |\n| It sings. | |\n"
    text = f"# x\n\n{HEADING}\n\n{rows}\n## y\n"
    assert promises(text) == [("It flies.", ["tests/test_no.py::test_x"]), ("It sings.", [])]
    assert not exists("tests/test_no.py::test_x")
    assert not exists("tests/test_promises.py::promises")
    assert exists("tests/test_promises.py::test_a_promise_without_its_test_is_noticed")
