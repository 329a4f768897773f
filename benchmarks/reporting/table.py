"""Tables, once: as Markdown, as CSV, and as HTML that can be sorted."""

import csv
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Result = dict[str, Any]
"""As read from JSON."""


@dataclass(frozen=True)
class Cell:
    """What is shown, and the number behind it, which is what one sorts by and what CSV holds."""

    text: str
    value: float | None = None


Row = Sequence[Cell | str]


@dataclass(frozen=True)
class Table:
    """One table with what has to be said about it."""

    id: str
    """For file names."""
    title: str
    header: Sequence[str]
    alignment: str
    """``l`` or ``r`` for each column."""
    rows: Sequence[Row]
    intro: str = ""
    notes: Sequence[str] = field(default=())

    def markdown(self) -> str:
        """The rows alone."""
        marks = ["---:" if side == "r" else "---" for side in self.alignment]
        lines = [self.header, marks, *([_text(cell) for cell in row] for row in self.rows)]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def document(self, level: int) -> str:
        """With title, introduction and notes, as Markdown."""
        parts = [f"{'#' * level} {self.title}", self.intro, self.markdown() if self.rows else "", bullets(self.notes)]
        return "\n\n".join(part for part in parts if part)

    def csv(self) -> str:
        """Header and rows; numbers in full."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(name or "name" for name in self.header)
        writer.writerows([_text(c) if _value(c) is None else repr(_value(c)) for c in row] for row in self.rows)
        return text.getvalue()

    def html(self) -> str:
        """A ``table`` element; every header is a button that sorts by its column."""
        head = "".join(
            f'<th scope="col" class="{side}" aria-sort="none">'
            f'<button type="button">{_inline(name) or "name"}</button></th>'
            for name, side in zip(self.header, self.alignment, strict=True)
        )
        body = "".join(
            f"<tr>{''.join(_cell_html(c, s) for c, s in zip(row, self.alignment, strict=True))}</tr>\n"
            for row in self.rows
        )
        return f'<table id="{self.id}">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>'


@dataclass(frozen=True)
class Section:
    """What one measurement has to show: at least one table."""

    name: str
    tables: Sequence[Table]

    @property
    def shown(self) -> list[Table]:
        """Those that have something in them."""
        return [table for table in self.tables if table.rows or table.notes]

    def document(self) -> str:
        """As Markdown."""
        return "\n\n".join(table.document(3 if index == 0 else 4) for index, table in enumerate(self.shown))


def number(value: float, form: str) -> Cell:
    """Shown in this format."""
    return Cell(format(value, form), value)


def optional(value: float | None, form: str) -> Cell:
    """The same, or nothing."""
    return Cell("") if value is None else number(value, form)


def signed(value: float, digits: int) -> Cell:
    """With its sign, and never -0."""
    return Cell(f"{round(value, digits) + 0.0:+.{digits}f}", value)


def spread(found: Result, digits: int) -> Cell:
    """Median, and the outer tenths."""
    text = f"{found['median']:.{digits}f} ({found['p10']:.{digits}f} to {found['p90']:.{digits}f})"
    return Cell(text, found["median"])


def size(hw: Sequence[int]) -> str:
    """HxW."""
    return f"{hw[0]}x{hw[1]}"


def joined(counts: Iterable[int]) -> str:
    """Different counts, once each."""
    return ", ".join(str(count) for count in sorted(set(counts)))


def bullets(lines: Iterable[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"* {line}" for line in lines)


def inline_html(markdown: str) -> str:
    """A line of Markdown with nothing but ``**`` and backticks in it."""
    return _inline(markdown)


def _inline(text: str) -> str:
    escaped = html.escape(text)
    for mark, tag in (("**", "strong"), ("`", "code")):
        parts = escaped.split(mark)
        if len(parts) % 2:
            escaped = "".join(part if index % 2 == 0 else f"<{tag}>{part}</{tag}>" for index, part in enumerate(parts))
    return escaped


def _text(cell: Cell | str) -> str:
    return cell.text if isinstance(cell, Cell) else cell


def _value(cell: Cell | str) -> float | None:
    return cell.value if isinstance(cell, Cell) else None


def _cell_html(cell: Cell | str, side: str) -> str:
    value = _value(cell)
    data = "" if value is None else f' data-value="{value!r}"'
    return f'<td class="{side}"{data}>{_inline(_text(cell))}</td>'
