"""The table of docs/robustness.md, made of docs/robustness.json. Run as a program, it writes it."""

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
DOCUMENT, RESULT = DOCS / "robustness.md", DOCS / "robustness.json"
BEGIN, END = "<!-- from: docs/robustness.json -->\n", "<!-- end -->"


def table(found: dict[str, Any]) -> str:
    """Of what was tried: the parts, each with where and when, and the numbers that tests have found."""
    lines = ["| part | survived | minutes | when | commit | machine |", "| --- | --- | --- | --- | --- | --- |"]
    for name, part in found["parts"].items():
        machine, commit = part["machine"], part["commit"]
        where = f"{machine['cpu']}, {machine['cores']} core{'s' if machine['cores'] > 1 else ''}"
        busy = f"; {part['busy']}" if part["busy"] else ""
        state = "unknown" if commit is None else commit["id"][:12] + (" and changes" if commit["modified"] else "")
        survived = f"{part['survived']} of {part['tried']}"
        minutes = f"{part['seconds'] / 60:.1f}"
        lines.append(f"| {name} | {survived} | {minutes} | {part['when'][:10]} | {state} | {where}{busy} |")
    lines += ["", "| what | outcome | numbers |", "| --- | --- | --- |"]
    for test in (test for part in found["parts"].values() for test in part["tests"]):
        numbers = {key: value for key, value in test.items() if key not in ("test", "outcome", "seconds")}
        if numbers or test["outcome"] != "passed":
            name = re.sub(r"^tests/(robustness/)?", "", test["test"]).replace("|", "\\|")
            lines.append(f"| `{name}` | {test['outcome']} | {_plain(numbers)} |")
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')}: {_plain(item)}" for key, item in value.items() if item != [])
    if isinstance(value, list):
        return "; ".join(f"({_plain(item)})" for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def filled(document: str, found: dict[str, Any]) -> str:
    """The document with the table in its place."""
    before, rest = document.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + table(found) + END + after


if __name__ == "__main__":
    DOCUMENT.write_text(filled(DOCUMENT.read_text(), json.loads(RESULT.read_text())))
