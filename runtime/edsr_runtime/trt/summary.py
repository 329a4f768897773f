"""An engine's description in words."""

import time

from edsr_runtime.trt.cache import Entry
from edsr_runtime.trt.engine_file import EngineDescription
from edsr_runtime.trt.flavour import TITLES
from edsr_runtime.trt.memory import megabytes, predict

_DAY_S = 24 * 3600


def describe(description: EngineDescription, layers: bool = False) -> list[str]:
    """Lines for people: contract, profile, memory, precision; with ``layers`` one line for each layer too."""
    contract, memory, precision = description.contract, description.memory, description.precision
    buffers = predict(contract, description.profile.max).buffers
    target = ", ".join(description.targets) or f"{description.gpu} ({'{}.{}'.format(*description.capability)})"
    place = f"on {description.gpu}, driver {description.driver}" if description.gpu else "without a GPU"
    options = description.flags
    lines = [
        f"{contract.architecture} x{contract.scale}, {contract.precision}, {contract.io} in and out"
        + (", averages the eight views" if contract.self_ensemble else ""),
        f"  from: {description.onnx}, SHA-256 {description.onnx_sha256[:12]}..., "
        f"checkpoint {contract.source_sha256[:12]}...",
        f"  profile: {description.profile}",
        f"  receptive radius: {contract.receptive_radius} LR pixels; smallest side: {contract.min_side}",
        f"  for: {TITLES[description.flavour]} {description.version} on {target}; {description.platform}",
        f"  built: {place}, in {description.build_seconds:.1f} s by edsr-toolkit {description.tool_version}"
        + (f", optimization level {options.opt_level}" if options.opt_level is not None else "")
        + (f", workspace {megabytes(options.workspace)}" if options.workspace is not None else ""),
        f"  memory: {_bytes(memory.activations)} of activations at the largest size "
        f"(foretold: up to {megabytes(memory.predicted)}), {_bytes(memory.weights)} of weights, "
        f"{megabytes(buffers)} in and out",
        f"  precision: asked for {precision.asked}; "
        + ", ".join(f"{count} {kind}" for kind, count in sorted(precision.count().items())),
        *(f"    shown by {proof}" for proof in precision.proofs),
    ]
    if layers:
        lines += [
            f"  {layer.name}: {layer.kind.lower()}, {_types(layer.takes, layer.gives)}" for layer in precision.layers
        ]
    return lines


def list_entry(entry: Entry, now: float | None = None) -> str:
    """One line: name, size, when it was last used, what is wrong with it."""
    days = ((time.time() if now is None else now) - entry.used) / _DAY_S
    used = "today" if days < 1 else f"{days:.0f} days ago"
    problem = f"  UNUSABLE: {entry.problem}" if entry.problem else ""
    return f"{entry.path.name}  {megabytes(entry.size)}, used {used}{problem}"


def _bytes(size: int | None) -> str:
    return "an unknown amount" if size is None else megabytes(size)


def _types(takes: str, gives: str) -> str:
    return gives if takes in ("", gives) else f"{takes} -> {gives}"
