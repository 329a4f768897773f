"""One HTML file with tables that sort, plots, and pictures to compare: for a phone, a keyboard, and no network."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from benchmarks.reporting.document import circumstances, left_out, sections, targets, warnings
from benchmarks.reporting.photographs import BICUBIC, HR, OURS, Photograph
from benchmarks.reporting.table import Result, Section, Table, inline_html

_PARTS = Path(__file__).parent / "page_parts"
_TITLES = {
    "cost": "Cost",
    "latency": "Latency",
    "models": "Shipped models",
    "offline": "Throughput",
    "ring": "Border ring",
    "quality": "Quality",
    "seams": "Seams",
    "encode": "Encoding",
    "scaling": "Scaling",
    "startup": "Start-up",
    "loader": "Training data",
    "memory": "Memory",
    "claims": "Claims of the paper",
    "field": "The field",
    "field-latency": "The field, run time",
}


def make_page(result: Result, plots: dict[str, Path], pictures: Sequence[Photograph]) -> str:
    """The whole file.

    Args:
        result: as read from a file.
        plots: SVG files by name.
        pictures: to compare; may be none.
    """
    found = sections(result)
    blocks: list[tuple[str, str, str]] = []
    if pictures:
        blocks.append(("pictures", "Pictures", "\n".join(_picture(each) for each in pictures)))
    if plots:
        blocks.append(("plots", "Plots", "\n".join(_plot(name, path) for name, path in plots.items())))
    blocks += [(f"section-{each.name}", _TITLES[each.name], _section(each)) for each in found]
    if (table := targets(result)) is not None:
        blocks.append(("section-targets", "Targets", _table(table)))
    if lines := left_out(result):
        blocks.append(("section-left-out", "Left out", _list(lines)))
    body = "\n".join(f'<section id="{name}"><h2>{title}</h2>\n{text}\n</section>' for name, title, text in blocks)
    first = next((name for name, _, _ in blocks if name.startswith("section-")), "pictures")
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in blocks)
    filled = {
        "title": f"edsr-toolkit, measured on {html.escape(result['machine']['cpu'])}, {result['date'][:10]}",
        "circumstances": _circumstances(result),
        "links": links,
        "body": body,
        "style": _part("style.css"),
        "script": _part("script.js"),
    }
    page = _part("page.html").replace('href="#results"', f'href="#{first}"')
    for name, text in filled.items():
        page = page.replace("{{" + name + "}}", text)
    return page


def _circumstances(result: Result) -> str:
    """What warns is seen at once; the rest is there to be opened."""
    alarms = [f"**{warning}**" for warning in warnings(result)]
    rest = [line for line in circumstances(result) if line not in alarms]
    closed = f"<details><summary>Machine, versions and load</summary>{_list(rest)}</details>"
    return (_list(alarms) if alarms else "") + closed


def _section(section: Section) -> str:
    return "\n".join(_table(table) for table in section.shown)


def _table(table: Table) -> str:
    intro = f"<p>{inline_html(table.intro)}</p>" if table.intro else ""
    label = html.escape(table.title, quote=True)
    rows = f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{table.html()}</div>'
    notes = _list(table.notes) if table.notes else ""
    return f"<h3>{inline_html(table.title)}</h3>{intro}{rows if table.rows else ''}{notes}"


def _plot(name: str, path: Path) -> str:
    text = name.replace("-", " ")
    image = f'<img class="plot" alt="plot: {text}" src="{_data("image/svg+xml", path.read_bytes())}">'
    return f'<figure class="scroll" tabindex="0" role="region" aria-label="plot: {text}">{image}</figure>'


def _picture(picture: Photograph) -> str:
    layers = "".join(
        f'<template class="layer" data-name="{name}" data-src="{_data("image/png", file)}"></template>'
        for name, file in picture.layers.items()
    )
    height, width = picture.hw
    size = f'width="{width}" height="{height}"'
    chosen = {"left": BICUBIC, "right": OURS}
    selects = "".join(
        f'<label>{side} <select data-side="{side}">'
        + "".join(
            f"<option{' selected' if name == chosen[side] else ''}>{name}</option>" for name in (BICUBIC, OURS, HR)
        )
        + "</select></label>"
        for side in chosen
    )
    return f"""<figure class="pictures" id="picture-{picture.name}">{layers}
<div class="compare" style="width: {width}px">
<img class="under" {size} alt=""><img class="over" {size} alt="">
<span class="edge"></span><span class="name left"></span><span class="name right"></span>
<input type="range" min="0" max="100" step="1" value="50" aria-label="{picture.name}: where left and right meet">
</div>
<div class="choose">{selects}</div>
<figcaption>{inline_html(picture.caption)}</figcaption></figure>"""


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{inline_html(line)}</li>" for line in lines) + "</ul>"


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")
