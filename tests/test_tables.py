"""Tables in documents are what ``benchmarks/report.py`` makes of a committed result file, to the letter."""

import re
from pathlib import Path

import pytest

from benchmarks.report import render
from benchmarks.result_file import read_result

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "runtime/edsr_runtime/models/edsr-small.md")
TABLE = re.compile(r"<!-- from: (?P<file>\S+) -->\n\n?(?P<rows>(?:\|.*\n)+)")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_row_is_measured(document: str) -> None:
    tables = list(TABLE.finditer((ROOT / document).read_text()))
    assert tables
    for table in tables:
        report = render(read_result(ROOT / table["file"])).splitlines()
        strangers = [row for row in table["rows"].splitlines() if row not in report]
        assert not strangers, f"{document}: not in the report of {table['file']}"
