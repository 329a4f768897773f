"""Markdown tables of what ``benchmarks/gpu.py`` has measured."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

Result = dict[str, Any]


def render_gpu(result: Result) -> str:
    """All tables of one result."""
    parts = [_circumstances(result)]
    parts += [_section(name)(section) for name, section in result["results"].items()]
    parts += [f"### {name} failed\n\n{failure['error']}" for name, failure in result["failed"].items()]
    left_out = [f"{name} was skipped: {reason}" for name, reason in result["skipped"].items()]
    done = {*result["results"], *result["skipped"], *result["failed"]}
    left_out += [f"{name} was not begun" for name in result["arguments"]["measurements"] if name not in done]
    if left_out:
        parts.append(_bullets(left_out))
    targets = [target for section in result["results"].values() for target in section["targets"]]
    if targets:
        parts.append(_targets(targets))
    return "\n\n".join(parts)


def broken(result: Result) -> bool:
    """Whether a section failed, or a promise does not hold."""
    checks = [check for section in result["results"].values() for check in section.get("checks", ())]
    return bool(result["failed"]) or any(check["error"] for check in checks)


def _circumstances(result: Result) -> str:
    gpu, commit = result["gpu"], result["commit"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    if "capability" in gpu:
        memory = f"{gpu['memory'] / 2**30:.0f} GiB"
        what = (
            f"{gpu['name']} (compute capability {gpu['capability'][0]}.{gpu['capability'][1]}, {memory}), "
            f"driver {gpu['driver'] or 'unknown'}, CUDA {gpu['cuda']}"
        )
    else:
        what = f"no GPU: {gpu['reason']}"
    clocks = [clock["clocks.sm"] for clock in (result["clocks_before"], result["clocks_after"]) if clock]
    lines = [
        what + (f"; clock {' -> '.join(clocks)}" if clocks else ""),
        f"{versions}; Python {result['machine']['python']}, {result['machine']['system']}",
        f"{result['date']}, commit {commit['id'][:12] if commit else 'unknown'}",
        *(f"**{warning}**" for warning in _warnings(result)),
    ]
    return _bullets(lines)


def _section(name: str) -> Callable[[Result], str]:
    return _layer if name.startswith("layer-") else _SECTIONS[name]


def _layer(section: Result) -> str:
    rows = [(check["name"], check["error"] or "holds", f"{check['seconds']:.3f}") for check in section["checks"]]
    title = f"### Device layer: {section['library']} on {section['gpu']}"
    return f"{title}\n\n{_table(('', '', 's'), rows, 'llr')}"


def _runner(section: Result) -> str:
    parts = [f"### Runner: PyTorch in TensorRT's place, {section['library']}"]
    for case in section["cases"]:
        pixels = [(row["name"], str(row["largest"]), f"{row['changed_share']:.2%}") for row in case["pixels"]]
        times = [
            (
                str(row["workers"]),
                "yes" if row["graphs"] else "no",
                _spread(row["tile_ms"], 2),
                f"{row['tile_ms']['median'] / case['compute_ms']:.2f}",
            )
            for row in case["throughput"]
        ]
        overlaps = [
            (
                str(overlap["workers"]),
                f"{overlap['copy_ms']:.2f}",
                f"{100 * overlap['hidden_ms'] / overlap['copy_ms'] if overlap['copy_ms'] else 0:.0f}",
                f"{100 * overlap['busy_share']:.0f}",
            )
            for overlap in case["overlaps"]
        ]
        parts += [
            f"#### {case['network']}, {case['tiles']} tiles of {case['tile']}x{case['tile']}",
            _table(("beside PyTorch", "largest, levels", "changed samples"), pixels, "lrr"),
            f"Network alone, as a graph: {case['compute_ms']:.2f} ms a tile. Array to array:",
            _table(("workers", "graphs", "ms a tile", "times the network"), times, "llrr"),
            "By events in the streams:",
            _table(("workers", "copies, ms", "hidden, %", "network runs, % of the time"), overlaps, "lrrr"),
        ]
    return "\n\n".join(parts)


def _parity(section: Result) -> str:
    rows = [
        (
            row["network"],
            row["form"],
            f"{row['largest']:.2g}",
            f"{row['rms']:.2g}",
            f"{row['changed_share']:.2%}",
        )
        for row in section["rows"]
    ]
    height, width = section["lr_hw"]
    title = f"### Parity with the unfolded network in FP32, two pictures of {height}x{width} LR"
    header = ("network", "form", "largest, levels", "rms", "changed samples")
    return f"{title}\n\n{_table(header, rows, 'llrrr')}"


def _speed(section: Result) -> str:
    ceiling = section["ceiling_tflops"]
    rows = [
        (
            row["name"],
            _spread(row["device_ms"], 3),
            _spread(row["times_eager"], 2),
            f"{row['tflops']:.1f}",
            f"{100 * row['tflops'] / ceiling:.0f}" if ceiling else "",
            f"{row['peak_bytes'] / 2**20:,.0f}" if row["peak_bytes"] else "",
        )
        for row in section["rows"]
    ]
    title = (
        f"### Device time: {section['network']}, {section['batch']} of {section['side']}x{section['side']} LR\n\n"
        f"By CUDA events, in random order. Matmul in FP16: {ceiling:.0f} TFLOP/s."
    )
    header = ("form", "ms", "times eager FP16", "TFLOP/s", "of matmul, %", "peak, MiB")
    notes = [f"{name} is missing: {reason}" for name, reason in section["missing"].items()]
    return "\n\n".join([title, _table(header, rows, "lrrrrr"), *([_bullets(notes)] if notes else [])])


def _ensemble(section: Result) -> str:
    rows = [
        (
            row["network"],
            f"{row['side']}x{row['side']}",
            *(_spread(row[field], 3) for field in ("single_ms", "eight_runs_ms", "batch_of_eight_ms")),
            _spread(row["times_single"], 2),
        )
        for row in section["rows"]
    ]
    header = ("network", "LR", "one run, ms", "eight runs, ms", "one batch of eight, ms", "times one run")
    return f"### Self-ensemble: device time, folded, FP16, as graphs\n\n{_table(header, rows, 'llrrrr')}"


def _backends(section: Result) -> str:
    rows = [
        (row["name"], _spread(row["ms"], 2), str(row["largest"]), f"{row['changed_share']:.2%}")
        for row in section["rows"]
    ]
    title = f"### {section['network']}, {section['side']}x{section['side']} LR, array to array"
    notes = [row["description"] for row in section["rows"]]
    header = ("", "ms", "largest difference", "changed samples")
    return "\n\n".join([title, _table(header, rows, "lrrr"), _bullets(notes)])


_SECTIONS: dict[str, Callable[[Result], str]] = {
    "runner": _runner,
    "parity": _parity,
    "speed-full": _speed,
    "speed-baseline": _speed,
    "ensemble": _ensemble,
    "tensorrt": _backends,
    "onnxruntime": _backends,
}


def _warnings(result: Result) -> list[str]:
    found = []
    if result["smoke"]:
        found.append("a smoke run on tiny networks and pictures: the numbers mean nothing")
    if result["commit"] and result["commit"]["modified"]:
        found.append("the project's files differed from the commit")
    return found


def _targets(targets: Sequence[Result]) -> str:
    rows = [
        (
            target["promise"],
            f"{target['bound']} {target['limit']:g} {target['unit']}",
            f"{target['measured']:.4g} {target['unit']}",
            f"does not apply: {target['reason']}" if not target["applies"] else "yes" if target["met"] else "**no**",
        )
        for target in targets
    ]
    return f"### Targets\n\n{_table(('', 'target', 'measured', 'met'), rows, 'llll')}"


def _spread(spread: Result, digits: int) -> str:
    return f"{spread['median']:.{digits}f} ({spread['p10']:.{digits}f} to {spread['p90']:.{digits}f})"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"* {line}" for line in lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], alignment: str) -> str:
    marks = ["---:" if side == "r" else "---" for side in alignment]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, marks, *rows))
