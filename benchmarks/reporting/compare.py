"""One result beside an older one: what became slower, larger or worse by more than a threshold.

Milliseconds of two runs cannot be compared where both runs timed PyTorch too: there the ratio to it counts, which was
taken in pairs. Between different machines nothing is called slower or larger.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Literal

from benchmarks.reporting.names import shown
from benchmarks.reporting.table import Cell, Result, Table, signed, size
from edsr_runtime.errors import DataError

DEFAULT_THRESHOLD = 0.10
_TIMES_TORCH = "times PyTorch"
_ALLOWED = {"dB": 0.01, "SSIM": 0.0001, "grey levels": 0.001}
"""Unit -> by how much, in it, a number may be worse to which no threshold applies. PSNR and SSIM depend on nothing that
changes from run to run; seams of the exact halo depend on the order of sums alone, and shares of them were noise."""


@dataclass(frozen=True)
class Metric:
    """One number of a result that can get better or worse."""

    value: float
    unit: str
    better: Literal["lower", "higher"]
    elsewhere: Literal["judged", "shown", "left out"]
    """What becomes of it between different machines: their times and memory say nothing of the code, and ratios to
    PyTorch little."""


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
    is_judged: bool
    """Or shown for information alone."""

    @property
    def is_regression(self) -> bool:
        """Whether it is worse by more than that."""
        return self.is_judged and self.worse_by > self.allowed

    @property
    def severity(self) -> float:
        """By which changes in different units are put in order: above 1 where they are regressions."""
        return self.worse_by / max(self.allowed, 1e-9)


@dataclass(frozen=True)
class Comparison:
    """All of them."""

    changes: list[Change]
    notes: list[str]
    same_machine: bool

    @property
    def judged(self) -> list[Change]:
        """Worst first."""
        return sorted((change for change in self.changes if change.is_judged), key=lambda change: -change.severity)

    @property
    def regressions(self) -> list[Change]:
        """Beyond the threshold, worst first."""
        return [change for change in self.judged if change.is_regression]

    def table(self, threshold: float) -> Table:
        """For people: what is judged, worst first, then what is not."""
        shown_only = [change for change in self.changes if not change.is_judged]
        rows = [
            (
                change.name,
                Cell(f"{change.old:.4g} {change.unit}", change.old),
                Cell(f"{change.new:.4g} {change.unit}", change.new),
                _worse_by(change),
                "**worse**" if change.is_regression else "" if change.is_judged else "not judged",
            )
            for change in [*self.judged, *shown_only]
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
    same = _machine(old) == _machine(new)
    if not same:
        notes.append(
            f"the machines differ (before: {_machine(old)}; now: {_machine(new)}): times and memory are left out, and "
            "ratios to PyTorch are shown but not judged"
        )
    if (old["quick"], old["smoke"]) != (new["quick"], new["smoke"]):
        notes.append(
            "one of them is a quick or smoke run, and the other is not: only what has the same size is compared"
        )
    notes += [f"{which}: {result['loaded']}" for which, result in (("before", old), ("now", new)) if result["loaded"]]
    changes = []
    for name in (name for name in before if name in now):
        if not same and now[name].elsewhere == "left out":
            continue
        changes.append(_change(name, before[name], now[name], threshold, same or now[name].elsewhere == "judged"))
    torch_before, torch_now = (result["versions"].get("torch") for result in (old, new))
    if torch_before != torch_now and any(change.unit == _TIMES_TORCH for change in changes):
        notes.append(f"ratios are to another PyTorch (before: {torch_before}; now: {torch_now})")
    return Comparison(changes, notes + _gone(old, new), same)


def require_something_to_show(old: Result, new: Result) -> None:
    """Refuse, before anything is measured, a comparison that could not have a single row.

    Args:
        old: what was measured before.
        new: circumstances of what will be measured.

    Raises:
        DataError: the older result has no such number.
    """
    same = _machine(old) == _machine(new)
    wanted = _sections(old, new["arguments"]["measurements"])
    if not any(same or metric.elsewhere != "left out" for _, metric in metrics(wanted)):
        raise nothing_to_judge(old, new, same)


def nothing_to_judge(old: Result, new: Result, same_machine: bool) -> DataError:
    """What is said where no number of two results can be judged."""
    has, wanted = (", ".join(names) or "nothing" for names in (old["results"], new["arguments"]["measurements"]))
    elsewhere = "" if same_machine else ", and the machines differ, so that only cost, sizes and quality could be"
    return DataError(
        f"nothing can be judged: the older result has {has}, the new one is of {wanted}{elsewhere}: compare results "
        "that have the same measurements, scales and sizes" + ("" if same_machine else " on one machine")
    )


def metrics(result: Result) -> Iterator[tuple[str, Metric]]:
    """Everything that is compared, by a name that carries its circumstances."""
    results = result["results"]
    for row in results.get("cost", {}).get("rows", ()):
        for form in ("trained", "exported"):
            for convention, count in (row[form] or {"mult_adds": {}})["mult_adds"].items():
                name = f"Mult-Adds of {row['network']} x{row['scale']} as {form}, {convention}"
                yield name, Metric(count / 1e9, "G", "lower", "judged")
    yield from _times(results)
    yield from _quality(results, result["arguments"].get("quality_side"))
    yield from _growth(results)


def _times(results: Result) -> Iterator[tuple[str, Metric]]:
    if section := results.get("latency"):
        for case in section["cases"]:
            where = f"{section['network']} x{case['scale']}, {size(section['lr_hw'])}"
            for row in case["rows"]:
                if row["kind"] == "ours":
                    yield f"speed of {row['name']}, {where}", _times_torch(row)
    if section := results.get("models"):
        for row in section["rows"]:
            name = f"latency of {row['model']}, auto, {size(section['lr_hw'])}"
            yield name, Metric(row["latency_ms"]["median"], "ms", "lower", "left out")
    if section := results.get("offline"):
        for row in section["rows"]:
            if row["kind"] == "ours":
                where = f"{row['scenario']}, x{section['scale']}, {size(section['lr_hw'])}"
                yield f"throughput of {row['name']}, {where}", _times_torch(row)
    for case in results.get("field-latency", {}).get("cases", ()):
        for row in case["rows"]:
            if row["engine"] == "auto":
                where = f"x{results['field-latency']['scale']}, {size(case['hr_hw'])} HR"
                yield (
                    f"latency of {row['network']}, {where}",
                    Metric(row["latency_ms"]["p50"], "ms", "lower", "left out"),
                )
    if section := results.get("encode"):
        for row in (row for row in section["rows"] if row["name"] == "edsr-upscale"):
            where = f"{section['picture']}, {size(section['hr_hw'])}"
            yield f"encoding, {where}", Metric(row["seconds"]["median"], "s", "lower", "left out")
            yield f"size of the PNG, {where}", Metric(row["size_bytes"] / 1e6, "MB", "lower", "judged")
            share = Metric(row["share_percent"]["median"], "%", "lower", "left out")
            yield f"share of encoding, {section['network']}, {where}", share
    if section := results.get("startup"):
        for row in section["rows"]:
            name = f"start: {row['step']}, {section['model']}, {size(section['lr_hw'])}"
            yield name, Metric(row["seconds"]["median"], "s", "lower", "left out")


def _times_torch(row: Result) -> Metric:
    return Metric(row["times_torch"]["median"], _TIMES_TORCH, "higher", "shown")


def _quality(results: Result, side: int | None) -> Iterator[tuple[str, Metric]]:
    part = "" if side is None else f", {side}x{side} LR of each"
    for case in results.get("quality", {}).get("cases", ()):
        for row in (row for row in case["rows"] if row["name"] == case["reference"] or _is_ours(row["name"])):
            where = f"{case['model']}, {row['name']}, {case['set']}{part}, {case['protocol']}"
            yield f"PSNR of {where}", Metric(row["psnr_db"], "dB", "higher", "judged")
            yield f"SSIM of {where}", Metric(row["ssim"], "SSIM", "higher", "judged")
    if section := results.get("seams"):
        for row in (row for row in section["rows"] if row["is_exact"]):  # with others there are seams, as there must be
            name = f"seams of {section['model']}, exact halo, {size(section['lr_hw'])} in tiles of {section['core_px']}"
            yield name, Metric(row["max_difference"], "grey levels", "lower", "judged")


def _growth(results: Result) -> Iterator[tuple[str, Metric]]:
    section = results.get("scaling", {"curves": ()})
    for curve in section["curves"]:
        for point in curve["points"]:
            where = f"{section['model']}, {curve['name']} {point['x']:g}{_work_at(curve, section['side'])}"
            yield f"time, {where}", Metric(point["seconds"], "s", "lower", "left out")
            yield f"peak memory, {where}", Metric(point["peak_bytes"] / 1e6, "MB", "lower", "left out")
    for row in results.get("memory", {}).get("rows", ()):
        name = f"memory of {results['memory']['model']} x{row['scale']}, {size(row['lr_hw'])}"
        yield name, Metric(row["peak_bytes"] / 1e6, "MB", "lower", "left out")


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


def _sections(result: Result, names: Container[str]) -> Result:
    """The result without other measurements."""
    return result | {"results": {name: section for name, section in result["results"].items() if name in names}}


def _gone(old: Result, new: Result) -> list[str]:
    """What only the older one has: whole measurements, and of the others the numbers."""
    found = []
    if sections := [name for name in old["results"] if name not in new["results"]]:
        found.append(f"only before: {', '.join(sections)}")
    now = dict(metrics(new))
    if numbers := [name for name, _ in metrics(_sections(old, new["results"])) if name not in now]:
        found.append(f"only before: {'; '.join(numbers)}")
    return found


def _machine(result: Result) -> str:
    """By which two are told apart: names of processors alone do not tell their generations."""
    machine = result["machine"]
    return f"{machine['cpu']}, {machine['usable_cpus']} CPUs, {' '.join(machine['cpu_flags'])}"


def _change(name: str, old: Metric, new: Metric, threshold: float, is_judged: bool) -> Change:
    difference = new.value - old.value if new.better == "lower" else old.value - new.value
    if new.unit in _ALLOWED:
        return Change(name, old.value, new.value, new.unit, difference, _ALLOWED[new.unit], is_judged)
    return Change(name, old.value, new.value, new.unit, difference / old.value, threshold, is_judged)


def _worse_by(change: Change) -> Cell:
    if not change.is_judged:
        return Cell("")
    if change.unit in _ALLOWED:
        return signed(change.worse_by, 5)
    return Cell(f"{change.worse_by:+.1%}", change.worse_by)
