"""What is left to look at after a run: its curves as a picture, and a summary."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from edsr_runtime.errors import DataError
from edsr_train.journal import in_json, read_journal
from edsr_train.run_config import RunConfig
from edsr_train.run_folder import RunFolder, write_text


def write_curves(log: Path, output: Path) -> None:
    """Draw loss and validation PSNR over the updates of a log."""
    lines = read_journal(log)
    scores = _comparable(lines)
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, psnr = figure.subplots(1, 2)
    loss.plot([line["update"] for line in lines], [line["loss"] for line in lines], lw=1)  # None leaves a gap
    loss.set(xlabel="updates", ylabel="training loss", title="loss")
    for name in scores[0]["psnr"] if scores else ():
        psnr.plot([line["update"] for line in scores], [line["psnr"].get(name) for line in scores], lw=1, label=name)
    protocol = scores[0].get("protocol") if scores else "no validation"
    psnr.set(xlabel="updates", ylabel=f"PSNR, dB ({protocol})", title="validation")
    if scores:
        psnr.legend()
    for axes in (loss, psnr):
        axes.grid(alpha=0.3)
    partial = output.with_name(f".{output.name}.partial")
    try:
        figure.savefig(partial, format="png", dpi=120)
        partial.replace(output)
    except OSError as err:
        raise DataError(f"{output}: cannot be written ({err.strerror})") from err
    finally:
        partial.unlink(missing_ok=True)


def summarise(folder: RunFolder, config: RunConfig, done: int, init: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What a run did, from its log: plain values, for ``summary.json``.

    Args:
        folder: of the run.
        config: of the run.
        done: updates.
        init: file and checksum of the weights that it began with.
    """
    lines = read_journal(folder.log_file)
    scores = _comparable(lines)
    best = max(scores, key=lambda line: sum(line["psnr"].values()), default=None)
    # Each line's speed is over its own stretch, so the stretches, and not the speeds, are what adds up.
    stretches = zip(lines, [0, *(line["update"] for line in lines)], strict=False)
    return {
        "configuration": config.to_plain(),
        "init": None if init is None else dict(init),
        "updates": done,
        "skipped": sum(line["skipped"] for line in lines),
        "rescaled": sum(line.get("rescaled", 0) for line in lines),
        "hours": sum(
            (line["update"] - before) / line["updates_per_second"]
            for line, before in stretches
            if line["updates_per_second"] > 0
        )
        / 3600,
        "last_loss": lines[-1]["loss"] if lines else None,
        "last_validation": _score(scores[-1]) if scores else None,
        "best_validation": _score(best) if best else None,
        "protocol": config.data.protocol,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def write_summary(folder: RunFolder, config: RunConfig, done: int, init: Mapping[str, str] | None = None) -> None:
    """Write ``curves.png`` and ``summary.json``; see ``summarise``."""
    write_curves(folder.log_file, folder.curves_file)
    summary = json.dumps(summarise(folder, config, done, init), indent=2, allow_nan=False)
    write_text(folder.summary_file, summary + "\n")


def _comparable(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines with a validation, of those that the last one can be compared with: the same pictures and protocol."""
    scores = [line for line in lines if line["psnr"]]
    return [line for line in scores if line.get("validation") == scores[-1].get("validation")]


def _score(line: dict[str, Any]) -> dict[str, Any]:
    return {"update": line["update"], "psnr": {name: in_json(psnr) for name, psnr in line["psnr"].items()}}
