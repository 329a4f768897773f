"""One result beside an older one: what became slower, larger or worse by more than a threshold."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from benchmarks.reporting.names import shown
from benchmarks.reporting.table import Cell, Result, Table, signed, size

DEFAULT_THRESHOLD = 0.10
_ALLOWED = {"dB": 0.01, "SSIM": 0.0001, "grey levels": 0.001}
"""Unit -> by how much, in it, a number may be worse to which no threshold applies. PSNR and SSIM depend on nothing that
changes from run to run; seams of the exact halo depend on the order of sums alone, and shares of them were noise."""


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
    """A share of the old value, or in the unit where a fixed amount is allowed; negative is better."""
    allowed: float
    """The most that is no regression."""

    @property
    def is_regression(self) -> bool:
        """Whether it is worse by more than that."""
        return self.worse_by > self.allowed

    @property
    def severity(self) -> float:
        """By which changes in different units are put in order: above 1 where they are regressions."""
        return self.worse_by / max(self.allowed, 1e-9)


@dataclass(frozen=True)
class Comparison:
    """All of them."""

    changes: list[Change]
    notes: list[str]

    @property
    def regressions(self) -> list[Change]:
        """Beyond the threshold, worst first."""
        return [change for change in self._worst_first if change.is_regression]

    @property
    def _worst_first(self) -> list[Change]:
        return sorted(self.changes, key=lambda change: -change.severity)

    def table(self, threshold: float) -> Table:
        """For people, worst first."""
        rows = [
            (
                change.name,
                Cell(f"{change.old:.4g} {change.unit}", change.old),
                Cell(f"{change.new:.4g} {change.unit}", change.new),
                signed(change.worse_by, 5)
                if change.unit in _ALLOWED
                else Cell(f"{change.worse_by:+.1%}", change.worse_by),
                "**worse**" if change.is_regression else "",
            )
            for change in self._worst_first
        ]
        fixed = ", ".join(f"{amount:g} {unit}" for unit, amount in _ALLOWED.items())
        title = f"Compared with before: {len(self.regressions)} worse by more than {threshold:.0%}, or {fixed}"
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
    yield from _times(results)
    yield from _quality(results, result["arguments"].get("quality_side"))
    yield from _growth(results)


def _times(results: Result) -> Iterator[tuple[str, Metric]]:
    if section := results.get("latency"):
        for case in section["cases"]:
            where = f"{section['network']} x{case['scale']}, {size(section['lr_hw'])}"
            for row in case["rows"]:
                if row["kind"] == "ours":
                    yield f"latency of {row['name']}, {where}", Metric(row["latency_ms"]["p50"], "ms", "lower", True)
    if section := results.get("models"):
        for row in section["rows"]:
            name = f"latency of {row['model']}, auto, {size(section['lr_hw'])}"
            yield name, Metric(row["latency_ms"]["median"], "ms", "lower", True)
    if section := results.get("offline"):
        for row in section["rows"]:
            if row["kind"] == "ours":
                where = f"{row['scenario']}, x{section['scale']}, {size(section['lr_hw'])}"
                rate = row["hr_megapixels_per_s"]["median"]
                yield f"throughput of {row['name']}, {where}", Metric(rate, "MP/s", "higher", True)
    for case in results.get("field-latency", {}).get("cases", ()):
        for row in case["rows"]:
            if row["engine"] == "auto":
                where = f"x{results['field-latency']['scale']}, {size(case['hr_hw'])} HR"
                yield f"latency of {row['network']}, {where}", Metric(row["latency_ms"]["p50"], "ms", "lower", True)
    if section := results.get("encode"):
        for row in (row for row in section["rows"] if row["name"] == "edsr-upscale"):
            where = f"{section['picture']}, {size(section['hr_hw'])}"
            yield f"encoding, {where}", Metric(row["seconds"]["median"], "s", "lower", True)
            yield f"size of the PNG, {where}", Metric(row["size_bytes"] / 1e6, "MB", "lower", False)
            share = Metric(row["share_percent"]["median"], "%", "lower", True)
            yield f"share of encoding, {section['network']}, {where}", share
    if section := results.get("startup"):
        for row in section["rows"]:
            name = f"start: {row['step']}, {section['model']}, {size(section['lr_hw'])}"
            yield name, Metric(row["seconds"]["median"], "s", "lower", True)


def _quality(results: Result, side: int | None) -> Iterator[tuple[str, Metric]]:
    part = "" if side is None else f", {side}x{side} LR of each"
    for case in results.get("quality", {}).get("cases", ()):
        for row in (row for row in case["rows"] if row["name"] == case["reference"] or _is_ours(row["name"])):
            where = f"{case['model']}, {row['name']}, {case['set']}{part}, {case['protocol']}"
            yield f"PSNR of {where}", Metric(row["psnr_db"], "dB", "higher", False)
            yield f"SSIM of {where}", Metric(row["ssim"], "SSIM", "higher", False)
    if section := results.get("seams"):
        for row in (row for row in section["rows"] if row["is_exact"]):  # with others there are seams, as there must be
            name = f"seams of {section['model']}, exact halo, {size(section['lr_hw'])} in tiles of {section['core_px']}"
            yield name, Metric(row["max_difference"], "grey levels", "lower", False)


def _growth(results: Result) -> Iterator[tuple[str, Metric]]:
    section = results.get("scaling", {"curves": ()})
    for curve in section["curves"]:
        for point in curve["points"]:
            where = f"{section['model']}, {curve['name']} {point['x']:g}{_work_at(curve, section['side'])}"
            yield f"time, {where}", Metric(point["seconds"], "s", "lower", True)
            yield f"peak memory, {where}", Metric(point["peak_bytes"] / 1e6, "MB", "lower", True)
    for row in results.get("memory", {}).get("rows", ()):
        name = f"memory of {results['memory']['model']} x{row['scale']}, {size(row['lr_hw'])}"
        yield name, Metric(row["peak_bytes"] / 1e6, "MB", "lower", True)


def _is_ours(name: str) -> bool:
    """Whether a candidate is a form of our runtime, and not what people use beside it."""
    return shown(name).startswith("edsr-toolkit")


def _work_at(curve: Result, side: int) -> str:
    """What a point of a curve works on, beside its ``x``."""
    if curve["name"] == "picture":
        return " megapixels"
    if curve["name"] == "tile":  # on a picture as large as the largest of them
        side = max(point["x"] for point in curve["points"])
    return f" of {side:g}x{side:g}"


def _change(name: str, old: Metric, new: Metric, threshold: float) -> Change:
    difference = new.value - old.value if new.better == "lower" else old.value - new.value
    if new.unit in _ALLOWED:
        return Change(name, old.value, new.value, new.unit, difference, _ALLOWED[new.unit])
    return Change(name, old.value, new.value, new.unit, difference / old.value, threshold)
