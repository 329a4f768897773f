"""Tables in documents are what ``benchmarks/reporting/readme.py`` makes of committed result files, to the letter."""

from pathlib import Path

import pytest

from benchmarks.reporting.readme import DOCUMENTS, MARK, make_table, with_tables
from benchmarks.result_file import write_result
from edsr_runtime.errors import DataError
from made_up_result import made_up, seams_section, whole_result

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_table_is_generated(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert list(MARK.finditer(text))
    assert with_tables(text) == text, f"{document} differs: python benchmarks/reporting/readme.py writes it anew"


def test_a_number_that_was_changed_by_hand_is_noticed() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = next(MARK.finditer(text))
    changed = text.replace(table["rows"], table["rows"].replace("1.00", "1.01"), 1)
    assert changed != text
    assert with_tables(changed) == text


def test_tables_can_be_made_of_another_file(tmp_path: Path) -> None:
    write_result(tmp_path / "new.json", whole_result())
    text = "before\n<!-- table: speed, from: old.json -->\n| stale |\n\nafter\n"
    new = with_tables(text, tmp_path / "new.json")
    assert new.startswith(f"before\n<!-- table: speed, from: {(tmp_path / 'new.json').as_posix()} -->\n| scale |")
    assert "| x4 | edsr-toolkit, auto | 80.0 | 88.0 | 25.00 (22.50 to 27.50) | 640 | 1 | 2.1% |\n" in new
    assert new.endswith("|\n\nafter\n")
    assert "stale" not in new


def test_tables_of_sets_name_their_protocol() -> None:
    rows = make_table("sets", whole_result()).markdown().splitlines()
    assert "| edsr-small_x2 | Set5 | `paper-y` | 37.40 / 0.9587 | 33.67 / 0.9301 |" in rows


@pytest.mark.parametrize(
    ("table", "message"),
    [("sped", "there is no table 'sped' for documents: expected speed"), ("speed", "needs the measurement latency")],
)
def test_a_table_that_cannot_be_made_is_refused(table: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_table(table, made_up(seams=seams_section()))
