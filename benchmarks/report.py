"""Markdown tables from result files: ``python benchmarks/report.py FILE.json [FILE.json ...]``."""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # started as a file: the package is beside the folder that Python looks in
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import click

from benchmarks.result_file import read_result
from edsr_runtime.command import EdsrCommand

Result = dict[str, Any]

_NAMES = {
    "torch-eager-fp32": "PyTorch eager FP32",
    "auto": "edsr-toolkit, auto",
    "auto-no-collapse": "edsr-toolkit, auto, without tail collapse",
    "openvino-bf16": "OpenVINO BF16",
    "openvino-fp32": "OpenVINO FP32",
    "onnxruntime": "onnxruntime",
}


@click.command(cls=EdsrCommand)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def main(files: tuple[Path, ...]) -> None:
    """Print the results in FILES as Markdown."""
    click.echo("\n\n".join(render(read_result(file)) for file in files))


def render(result: Result) -> str:
    """All tables of one result file."""
    parts = [_circumstances(result)]
    parts += [_SECTIONS[name](section) for name, section in result["results"].items()]
    left_out = [f"{name} was left out: {reason}" for name, reason in result["skipped"].items()]
    done = {*result["results"], *result["skipped"]}
    left_out += [f"{name} was not finished" for name in result["arguments"]["measurements"] if name not in done]
    if left_out:
        parts.append(_bullets(left_out))
    targets = [target for section in result["results"].values() for target in section["targets"]]
    if targets:
        parts.append(_targets(targets))
    return "\n\n".join(parts)


def warnings(result: Result) -> list[str]:
    """What keeps the numbers from being taken at face value."""
    found = []
    if result["smoke"]:
        found.append("a smoke run on tiny networks and pictures: the numbers mean nothing")
    if result["loaded"]:
        found.append(
            f"the machine was busy before the start (load average {result['load_before'][0]:.2f}): "
            "do not rely on the times"
        )
    if result["commit"] and result["commit"]["modified"]:
        found.append("the project's files differed from the commit")
    return found


def _circumstances(result: Result) -> str:
    machine, commit = result["machine"], result["commit"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    cores = f"{machine['usable_cpus']} CPUs" + (", virtual" if machine["is_virtual"] else "")
    memory = f", {machine['memory_bytes'] / 1e9:.0f} GB" if machine["memory_bytes"] else ""
    load = " -> ".join(f"{load[0]:.2f}" for load in (result["load_before"], result["load_after"]) if load)
    lines = [
        f"{machine['cpu']} ({cores}{memory}; {', '.join(machine['cpu_flags']) or 'no AVX2'})",
        f"{versions}; Python {machine['python']}, {machine['system']}",
        f"{result['date']}, commit {commit['id'][:12] if commit else 'unknown'}, load average {load}",
        *(f"**{warning}**" for warning in warnings(result)),
    ]
    return _bullets(lines)


def _speed(section: Result) -> str:
    rows = []
    for case in section["cases"]:
        for row in case["rows"]:
            rows.append(
                (
                    f"x{case['scale']}",
                    _NAMES[row["name"]],
                    _spread(row["latency_ms"], 1),
                    _spread(row["times_torch"], 2),
                    str(row["max_difference"]),
                    f"{row['changed_share']:.1%}",
                )
            )
    counts = {row["latency_ms"]["count"] for case in section["cases"] for row in case["rows"]}
    header = ("scale", "", "ms", "times PyTorch", "largest difference", "changed samples")
    auto = next(row for row in section["cases"][0]["rows"] if row["name"] == "auto")
    notes = [
        f"auto is {auto['description'].partition(': ')[2]}",
        *(
            f"x{case['scale']}: {_spread(case['times_no_collapse'], 2)} times as fast as without tail collapse"
            for case in section["cases"]
        ),
        *(f"{name} is missing: {reason}" for name, reason in section["cases"][0]["missing"].items()),
    ]
    title = (
        f"### Speed: {section['network']}, {_size(section['lr_hw'])} LR, uint8 array to uint8 array\n\n"
        f"Median (10th to 90th percentile) of {_joined(counts)} rounds in random order; ratios are taken within rounds."
    )
    return "\n\n".join([title, _table(header, rows, "llrrrr"), _bullets(notes)])


def _ring(section: Result) -> str:
    rows = [
        (
            f"x{row['scale']}",
            _NAMES[row["name"]],
            _spread(row["latency_ms"], 1),
            _spread(row["overhead_percent"], 1),
            _spread(row["noise_percent"], 1),
        )
        for row in section["rows"]
    ]
    counts = {row["latency_ms"]["count"] for row in section["rows"]}
    title = (
        f"### What the exact border ring costs: {section['network']}, {_size(section['lr_hw'])} LR\n\n"
        f"Against one plain 5x5 convolution, which is wrong in the ring; {_joined(counts)} rounds. "
        "No difference: the same for two copies of the plain graph."
    )
    header = ("scale", "", "ms", "more time, %", "no difference, %")
    notes = [f"{name} is missing: {reason}" for name, reason in section["missing"].items()]
    return "\n\n".join([title, _table(header, rows, "llrrr"), *([_bullets(notes)] if notes else [])])


def _psnr(section: Result) -> str:
    rows, notes = [], []
    for case in section["cases"]:
        for row in case["rows"]:
            rows.append(
                (
                    case["model"],
                    _NAMES[row["name"]],
                    f"{row['psnr_db']:.3f}",
                    _signed(row["loss_db"], 4),
                    _signed(row["worst_loss_db"], 4),
                    f"{row['rms_difference']:.2g}",
                    f"{row['max_difference']:.2g}",
                    f"{row['changed_share']:.2%}",
                )
            )
        notes += [
            f"{case['model']} with self-ensemble, {_NAMES[row['name']]}: "
            f"{row['psnr_db']:.3f} dB ({_signed(row['gain_db'], 3)} dB)"
            for row in case["ensemble"]
        ]
    notes += [f"{name} is missing: {reason}" for name, reason in section["missing"].items()]
    title = (
        f"### Quality: {section['set']} ({section['pictures']} pictures), `{section['protocol']}`\n\n"
        "Each model's first row is what the others are compared with. Differences in grey levels before rounding."
    )
    header = ("model", "", "PSNR, dB", "loss, dB", "worst picture", "rms", "largest", "changed samples")
    return "\n\n".join([title, _table(header, rows, "llrrrrrr"), *([_bullets(notes)] if notes else [])])


def _sets(section: Result) -> str:
    rows = []
    for score in section["scores"]:
        published = score["published_psnr_db"]
        rows.append(
            (
                f"{score['model']}_x{score['scale']}",
                score["set"],
                f"{score['psnr_db']:.3f} / {score['ssim']:.4f}",
                f"{score['bicubic_psnr_db']:.3f} / {score['bicubic_ssim']:.4f}",
                "" if published is None else f"{published:.2f}",
            )
        )
    title = (
        f"### Shipped models: PSNR, dB, and SSIM, `{section['protocol']}`, {_NAMES[section['computed_by']]}\n\n"
        "Published: the same network trained on DIV2K, by its authors."
    )
    header = ("model", "set", "PSNR / SSIM", "bicubic", "published PSNR")
    return "\n\n".join([title, _table(header, rows, "llrrr")])


def _encode(section: Result) -> str:
    rows = [
        (
            row["name"],
            _spread(row["seconds"], 3),
            _spread(row["share_percent"], 1),
            f"{row['size_bytes'] / 1e6:.2f}",
        )
        for row in section["rows"]
    ]
    title = (
        f"### PNG encoding: {_size(section['hr_hw'])}, {section['picture']}\n\n"
        f"Inference, {section['network']} x4 on {_size(section['lr_hw'])} LR, "
        f"{section['description'].partition(': ')[2]}: {_spread(section['infer_seconds'], 3)} s, "
        f"{section['infer_seconds']['count']} rounds. One after the other here; edsr-upscale overlaps them."
    )
    return f"{title}\n\n{_table(('encoder', 's', 'share of both, %', 'MB'), rows, 'lrrr')}"


def _memory(section: Result) -> str:
    rows = [
        (
            f"x{row['scale']}",
            _size(row["lr_hw"]),
            _size(row["hr_hw"]),
            f"{row['peak_bytes'] / 1e9:.2f}",
            f"{row['seconds']:.0f}",
            f"{row['input_bytes'] / 1e6:,.0f} -> {row['output_bytes'] / 1e6:,.0f}",
        )
        for row in section["rows"]
    ]
    header = ("scale", "LR", "HR", "peak, GB", "s", "files, MB")
    return f"### Memory: edsr-upscale -n {section['model']}, PNG to PNG\n\n{_table(header, rows, 'lllrrr')}"


def _loader(section: Result) -> str:
    rows = [
        (
            f"x{row['scale']}",
            str(row["patch"]),
            row["network"],
            _spread(row["loader_patches_per_s"], 0),
            _spread(row["update_patches_per_s"], 0),
            _spread(row["times_update"], 1),
        )
        for row in section["rows"]
    ]
    counts = {row["times_update"]["count"] for row in section["rows"]}
    title = (
        f"### Training data: patches per second, {section['threads']} threads\n\n"
        f"Batches of {section['batch']} from {section['pictures']} pictures of {_size(section['hr_hw'])}, beside "
        f"updates in bfloat16 that never wait; {_joined(counts)} rounds."
    )
    header = ("scale", "patch", "network", "loader", "update", "times")
    return f"{title}\n\n{_table(header, rows, 'lllrrr')}"


def _claims(section: Result) -> str:
    memory, loss, start = section["memory"], section["loss"], section["start"]
    said = [
        (memory["claim"], "; ".join(_memory_saved(case) for case in memory["cases"])),
        (loss["claim"], _loss_gain(loss)),
        (start["claim"], _start_gain(start, section["updates"])),
    ]
    title = (
        "### What the paper claims, and what comes out here\n\n"
        f"Lim et al., arXiv:1707.02921. Memory of {memory['network']}; PSNR of {section['recipe']} after "
        f"{section['updates']} updates on {section['batch']} patches of {section['patch']}x{section['patch']} (LR), "
        f"one seed, {section['set']}, `{section['protocol']}`."
    )
    parts = [title, _table(("the paper", "here"), said, "ll"), _training_memory(memory)]
    parts.append(_curves(f"L1 against L2: {section['recipe']}", loss, {"L1": loss["l1"], "L2 (MSE)": loss["l2"]}))
    runs = {f"from x{start['from_scale']}": start["pretrained"], "from scratch": start["scratch"]}
    parts.append(_curves(f"Where x{start['scale']} starts from: {section['recipe']}", start, runs))
    return "\n\n".join(parts)


def _memory_saved(case: Result) -> str:
    saved = case["saved"]
    return (
        f"x{case['scale']}: {_less(saved['network'])} kept for the backward pass ({_less(saved['blocks'])} in the "
        f"residual blocks), {_less(saved['peak'])} at the peak of the process"
    )


def _less(share: float) -> str:
    return f"{abs(share):.1%} {'less' if share >= 0 else 'more'}"


def _loss_gain(loss: Result) -> str:
    l1_db, l2_db = (loss[name]["points"][-1]["psnr_db"] for name in ("l1", "l2"))
    return f"x{loss['scale']}: L1 ends {_above(loss['gain_db'])} L2 ({l1_db:.2f} and {l2_db:.2f} dB)"


def _start_gain(start: Result, updates: int) -> str:
    scratch_db, pretrained_db = (start[name]["points"][-1]["psnr_db"] for name in ("scratch", "pretrained"))
    at = start["passes_at"]
    passing = f"passes the latter's end at update {at}" if at is not None else "never passes the latter's end"
    return (
        f"x{start['scale']} from x{start['from_scale']} ends {_above(start['gain_db'])} that from scratch "
        f"({pretrained_db:.2f} and {scratch_db:.2f} dB) and {passing}; the {updates} updates of the "
        f"x{start['from_scale']} network are not counted"
    )


def _above(difference_db: float) -> str:
    size = f"{abs(difference_db):.2f}"
    if float(size) == 0:
        return "level with"
    return f"{size} dB {'above' if difference_db > 0 else 'below'}"


def _training_memory(memory: Result) -> str:
    fields = ("blocks_bytes", "network_bytes", "peak_bytes", "weights_bytes")
    rows = []
    for case in memory["cases"]:
        for name, kind in (("with batch norm", "batch_norm"), ("ours", "ours")):
            rows.append((f"x{case['scale']}", name, *(f"{case[kind][field] / 1e6:.1f}" for field in fields)))
    title = (
        f"#### Memory of training: {memory['network']}, {memory['batch']} patches of "
        f"{memory['patch']}x{memory['patch']} (LR), FP32\n\n"
        "Blocks, network: what autograd keeps between forward and backward, counted, without weights. Peak: resident "
        f"memory by which {memory['updates']} updates make a process grow, with gradients and Adam's moments."
    )
    header = ("scale", "", "blocks, MB", "network, MB", "peak, MB", "weights, MB")
    return f"{title}\n\n{_table(header, rows, 'llrrrr')}"


def _curves(title: str, claim: Result, runs: dict[str, Result]) -> str:
    """Of two runs that were validated at the same updates."""
    rows = [
        (str(a["update"]), f"{a['psnr_db']:.3f}", f"{b['psnr_db']:.3f}", _signed(a["psnr_db"] - b["psnr_db"], 3))
        for a, b in zip(*(run["points"] for run in runs.values()), strict=True)
    ]
    header = ("update", *(f"{name}, dB" for name in runs), "difference, dB")
    skipped = [f"{name}: {run['skipped']} updates were skipped" for name, run in runs.items() if run["skipped"]]
    parts = [
        f"#### {title} x{claim['scale']}, {claim['photographs']} photographs",
        _table(header, rows, "rrrr"),
        _bullets([f"bicubic: {claim['bicubic_db']:.3f} dB", *skipped]),
    ]
    return "\n\n".join(parts)


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


_SECTIONS: dict[str, Callable[[Result], str]] = {
    "speed": _speed,
    "ring": _ring,
    "psnr": _psnr,
    "sets": _sets,
    "encode": _encode,
    "memory": _memory,
    "loader": _loader,
    "claims": _claims,
}


def _spread(spread: Result, digits: int) -> str:
    return f"{spread['median']:.{digits}f} ({spread['p10']:.{digits}f} to {spread['p90']:.{digits}f})"


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # the sum makes +0 of -0


def _size(hw: Sequence[int]) -> str:
    return f"{hw[0]}x{hw[1]}"


def _joined(counts: Iterable[int]) -> str:
    return ", ".join(str(count) for count in sorted(counts))


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"* {line}" for line in lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], alignment: str) -> str:
    marks = ["---:" if side == "r" else "---" for side in alignment]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, marks, *rows))


if __name__ == "__main__":
    main()
