"""Tables in documents are what ``benchmarks/reporting/readme.py`` makes of committed result files, to the letter."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.reporting import readme
from benchmarks.reporting.readme import DOCUMENTS, MARK, make_table, with_tables
from benchmarks.result_file import write_result
from edsr_runtime.errors import DataError
from made_up_result import latency_section, made_up, seams_section, whole_result

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
    assert "| x4 | edsr-toolkit, auto | 80.0 | 88.0 | 96.0 | 25.00 (22.50 to 27.50) | 640 | 50% | 1 | 2.1% |\n" in new
    assert new.endswith("|\n\nafter\n")
    assert "stale" not in new


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two documents with a stale table each."""
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    monkeypatch.setattr(readme, "DOCUMENTS", ("ONE.md", "TWO.md"))
    (tmp_path / "ONE.md").write_text("<!-- table: speed, from: old.json -->\n| stale |\n")
    (tmp_path / "TWO.md").write_text("<!-- table: field, from: old.json -->\n| stale |\n\nafter\n")
    return tmp_path


def texts(documents: Path) -> list[str]:
    return [(documents / name).read_text() for name in readme.DOCUMENTS]


def test_tables_without_a_measurement_in_the_new_file_stay_as_they_are(documents: Path) -> None:
    _, field = texts(documents)
    write_result(documents / "new.json", made_up(latency=latency_section()))
    done = CliRunner().invoke(readme.main, ["--from", str(documents / "new.json")])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        "the table field stays as it is: new.json does not have field",
        "ONE.md: written anew",
    ]
    assert texts(documents)[0].startswith("<!-- table: speed, from: new.json -->\n| scale |")
    assert texts(documents)[1] == field


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("<!-- table: sped, from: old.json -->\n", "there is no table 'sped' for documents"),
        ("<!-- table: quality, from: old.json -->\n", "the table 'quality' would be empty"),
    ],
)
def test_nothing_is_written_when_one_table_cannot_be_made(documents: Path, second: str, message: str) -> None:
    (documents / "TWO.md").write_text(second)
    before = texts(documents)
    result = whole_result()
    result["results"]["quality"]["cases"] = [
        case for case in result["results"]["quality"]["cases"] if case["set"] != "Set5"
    ]
    write_result(documents / "new.json", result)
    done = CliRunner().invoke(readme.main, ["--from", str(documents / "new.json")])
    assert done.exit_code != 0
    assert message in " ".join(done.output.split())
    assert texts(documents) == before


def test_a_file_that_no_table_can_be_made_of_is_refused_in_one_sentence(documents: Path) -> None:
    before = texts(documents)
    write_result(documents / "new.json", made_up(seams=seams_section()))
    done = CliRunner().invoke(readme.main, ["--from", str(documents / "new.json")])
    assert done.exit_code == DataError.exit_code
    said = "new.json: has no measurement of any table in the documents: found seams, expected one of field, latency"
    assert said in " ".join(done.output.split())
    assert texts(documents) == before


def test_a_file_outside_the_project_is_refused(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("elsewhere") / "new.json"
    write_result(path, whole_result())
    done = CliRunner().invoke(readme.main, ["--from", str(path)])
    assert done.exit_code == DataError.exit_code
    assert "is outside the project" in " ".join(done.output.split())


def test_sets_of_different_protocols_are_in_different_tables() -> None:
    luma, rgb = (make_table(f"sets-{protocol}", whole_result()).markdown() for protocol in ("paper-y", "paper-div2k"))
    assert luma.splitlines()[0] == "| model | set | PSNR, dB / SSIM, `paper-y` | bicubic |"
    assert "| edsr-small_x2 | Set5 | 37.40 / 0.9587 | 33.67 / 0.9301 |" in luma
    assert "DIV2K" not in luma
    assert rgb.splitlines()[2:] == ["| edsr-small_x2 | 3 of DIV2K_valid | 34.50 / 0.9587 | 31.00 / 0.9301 |"]


@pytest.mark.parametrize(
    ("table", "message"),
    [("sped", "there is no table 'sped' for documents: expected speed"), ("speed", "needs the measurement latency")],
)
def test_a_table_that_cannot_be_made_is_refused(table: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_table(table, made_up(seams=seams_section()))


def test_a_line_for_each_of_our_models_and_a_card_with_all_its_sets() -> None:
    rows = make_table("quality", whole_result()).markdown().splitlines()
    assert "| edsr-small_x2 | 37.404 / 0.9587 |  | +0.0042 | +0.0000 |  | 9.88% | +0.119 |" in rows
    rows = make_table("scores-edsr-small", whole_result()).markdown().splitlines()
    assert "| x4 | Set5 | 28.430 / 0.9301 | 31.355 / 0.9587 | 31.474 / 0.9594 |  |  |  |" in rows
    assert len(rows) == 4, "DIV2K has another protocol"
    with pytest.raises(DataError, match="the table 'scores-edsr-baseline' would be empty"):
        make_table("scores-edsr-baseline", whole_result())
