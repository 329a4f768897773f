"""What there is to fuzz, without importing it: that takes atheris."""

import re
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "fuzz" / "target.py"


def names() -> list[str]:
    """Of the targets."""
    return re.findall(r'^    "(\w+)": \(', TARGET.read_text(), flags=re.MULTILINE)
