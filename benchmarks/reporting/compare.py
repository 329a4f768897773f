"""One result beside an older one: what became slower, larger or worse by more than a threshold."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from benchmarks.reporting.table import Cell, Result, Table, signed

DEFAULT_THRESHOLD = 0.10
_DB = 0.01
"""PSNR depends on nothing that changes from run to run: hundredths of a dB are a change."""


@dataclass(frozen=True)
class Metric:
    """One number of a result that can get better or worse."""

    value: float
    unit: str
    better: Literal["lower", "higher"]
    needs_same_machine: bool
    """Times and memory of different machines say nothing of the code."""


@dataclass(frozen=True)
class Change:
    """One metric that both results have."""

    name: str
    old: float
    new: float
    unit: str
    worse_by: float
    """A share of the old value, or dB; negative is better."""
    is_regression: bool


@dataclass(frozen=True)
class Comparison:
    """All of them."""

    changes: list[Change]
    notes: list[str]

    @property
    def regressions(self) -> list[Change]:
        """Beyond the threshold."""
        return [change for change in self.changes if change.is_regression]

    def table(self, threshold: float) -> Table:
        """For people, worst first."""
        rows = [
            (
                change.name,
                Cell(f"{change.old:.4g} {change.unit}", change.old),
                Cell(f"{change.new:.4g} {change.unit}", change.new),
                signed(change.worse_by, 4) if change.unit == "dB" else Cell(f"{change.worse_by:+.1%}", change.worse_by),
                "**worse**" if change.is_regression else "",
            )
            for change in sorted(self.changes, key=lambda change: -change.worse_by)
        ]
        title = f"Compared with before: {len(self.regressions)} worse by more than {threshold:.0%}, or {_DB} dB"
        return Table("comparison", title, ("", "before", "now", "worse by", ""), "lrrrl", rows, "", self.notes)


def compare(old: Result, new: Result, threshold: float = DEFAULT_THRESHOLD) -> Comparison:
    """Compare what both have.

    Args:
        old: what was measured before.
        new: what was measured now.
        threshold: share by which a time, a memory or a cost may be worse.
    """
    before, now = dict(metrics(old)), dict(metrics(new))
    notes = []
    same = all(old["machine"][key] == new["machine"][key] for key in ("cpu", "usable_cpus"))
    if not same:
        notes.append(
            f"another machine ({old['machine']['cpu']}, {old['machine']['usable_cpus']} CPUs): times and memory are "
            "not compared"
        )
    if (old["quick"], old["smoke"]) != (new["quick"], new["smoke"]):
        notes.append(
            "one of them is a quick or smoke run, and the other is not: only what has the same size is compared"
        )
    notes += [f"{which}: {result['loaded']}" for which, result in (("before", old), ("now", new)) if result["loaded"]]
    changes = []
    for name in (name for name in before if name in now):
        if not same and now[name].needs_same_machine:
            continue
        changes.append(_change(name, before[name], now[name], threshold))
    return Comparison(changes, notes)


def metrics(result: Result) -> Iterator[tuple[str, Metric]]:
    """Everything that is compared, by a name that carries its circumstances."""
    results = result["results"]
    for row in results.get("cost", {}).get("rows", ()):
        for form in ("trained", "exported"):
            for convention, count in (row[form] or {"mult_adds": {}})["mult_adds"].items():
                name = f"Mult-Adds of {row['network']} x{row['scale']} as {form}, {convention}"
                yield name, Metric(count / 1e9, "G", "lower", False)
    if section := results.get("latency"):
        for case in section["cases"]:
            where = f"{section['network']} x{case['scale']}, {section['lr_hw'][0]}x{section['lr_hw'][1]}"
            for row in case["rows"]:
                if row["kind"] == "ours":
                    yield f"latency of {row['name']}, {where}", Metric(row["latency_ms"]["p50"], "ms", "lower", True)
    if section := results.get("offline"):
        for row in section["rows"]:
            if row["kind"] == "ours":
                where = f"{row['scenario']}, x{section['scale']}, {section['lr_hw'][0]}x{section['lr_hw'][1]}"
                rate = row["hr_megapixels_per_s"]["median"]
                yield f"throughput of {row['name']}, {where}", Metric(rate, "MP/s", "higher", True)
    for case in results.get("quality", {}).get("cases", ()):
        for row in case["rows"]:
            name = f"PSNR of {case['model']}, {row['name']}, {case['set']}, {case['protocol']}"
            yield name, Metric(row["psnr_db"], "dB", "higher", False)
    for case in results.get("field-latency", {}).get("cases", ()):
        for row in case["rows"]:
            if row["engine"] == "auto":
                where = f"x{results['field-latency']['scale']}, {case['hr_hw'][0]}x{case['hr_hw'][1]} HR"
                yield f"latency of {row['network']}, {where}", Metric(row["latency_ms"]["p50"], "ms", "lower", True)
    for curve in results.get("scaling", {}).get("curves", ()):
        for point in curve["points"]:
            where = f"{curve['name']} {point['x']:g}"
            yield f"time, {where}", Metric(point["seconds"], "s", "lower", True)
            yield f"peak memory, {where}", Metric(point["peak_bytes"] / 1e6, "MB", "lower", True)
    for row in results.get("startup", {}).get("rows", ()):
        yield f"start: {row['step']}", Metric(row["seconds"]["median"], "s", "lower", True)
    for row in results.get("memory", {}).get("rows", ()):
        yield f"memory of 100 megapixels x{row['scale']}", Metric(row["peak_bytes"] / 1e6, "MB", "lower", True)


def _change(name: str, old: Metric, new: Metric, threshold: float) -> Change:
    difference = new.value - old.value if new.better == "lower" else old.value - new.value
    if new.unit == "dB":
        return Change(name, old.value, new.value, new.unit, difference, difference > _DB)
    worse = difference / old.value
    return Change(name, old.value, new.value, new.unit, worse, worse > threshold)
