"""A result file as sections of tables, and as one Markdown document."""

from collections.abc import Callable, Sequence

from benchmarks.reporting.cost_tables import cost
from benchmarks.reporting.field_tables import field, field_latency
from benchmarks.reporting.latency_tables import encode, latency, memory, models, offline, ring, startup
from benchmarks.reporting.quality_tables import quality, seams
from benchmarks.reporting.scaling_tables import scaling
from benchmarks.reporting.table import Result, Section, Table, bullets
from benchmarks.reporting.training_tables import claims, loader

SECTIONS: dict[str, Callable[[Result], Section]] = {
    "cost": cost,
    "latency": latency,
    "models": models,
    "offline": offline,
    "ring": ring,
    "quality": quality,
    "seams": seams,
    "encode": encode,
    "scaling": scaling,
    "startup": startup,
    "loader": loader,
    "memory": memory,
    "claims": claims,
    "field": field,
    "field-latency": field_latency,
}


def render(result: Result) -> str:
    """All of a result file, as Markdown."""
    parts = [bullets(circumstances(result)), *(section.document() for section in sections(result))]
    if lines := left_out(result):
        parts.append(bullets(lines))
    if (table := targets(result)) is not None:
        parts.append(table.document(3))
    return "\n\n".join(parts)


def sections(result: Result) -> list[Section]:
    """In the order in which they were measured."""
    return [SECTIONS[name](section) for name, section in result["results"].items()]


def circumstances(result: Result) -> list[str]:
    """Where and when, and what keeps the numbers from being taken at face value."""
    machine, commit = result["machine"], result["commit"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    cores = f"{machine['usable_cpus']} CPUs" + (", virtual" if machine["is_virtual"] else "")
    memory_gb = f", {machine['memory_bytes'] / 1e9:.0f} GB" if machine["memory_bytes"] else ""
    load = " -> ".join(f"{load[0]:.2f}" for load in (result["load_before"], result["load_after"]) if load)
    others = result["others_share"]
    taken = "" if others is None else f", {others:.0%} of the processor taken by others"
    gpus = "; ".join(machine["gpus"]) or "no NVIDIA GPU"
    return [
        f"{machine['cpu']} ({cores}{memory_gb}; {', '.join(machine['cpu_flags']) or 'no AVX2'}); {gpus}",
        f"{versions}; Python {machine['python']}, {machine['system']}",
        f"{result['date']}, commit {commit['id'][:12] if commit else 'unknown'}, load average {load}{taken}",
        *_times(result.get("seconds", {})),
        *(f"**{warning}**" for warning in warnings(result)),
    ]


def _times(seconds: dict[str, float]) -> list[str]:
    """By measurement."""
    if not seconds:
        return []
    parts = ", ".join(f"{name} {value:,.0f}" for name, value in seconds.items())
    return [f"measured in {sum(seconds.values()):,.0f} s: {parts}"]


def warnings(result: Result) -> list[str]:
    """What keeps the numbers from being taken at face value."""
    found = []
    if result["smoke"]:
        found.append("a smoke run on tiny networks and pictures: the numbers mean nothing")
    if result["loaded"]:
        found.append(f"{result['loaded']}: do not rely on the times")
    if result["commit"] and result["commit"]["modified"]:
        found.append("the project's files differed from the commit")
    return found


def left_out(result: Result) -> list[str]:
    """Measurements that were asked for and are not there, and why."""
    lines = [f"{name} was left out: {reason}" for name, reason in result["skipped"].items()]
    done = {*result["results"], *result["skipped"]}
    return lines + [f"{name} was not finished" for name in result["arguments"]["measurements"] if name not in done]


def targets(result: Result) -> Table | None:
    """All promises with what was measured; None where there are none."""
    found: Sequence[Result] = [target for section in result["results"].values() for target in section["targets"]]
    rows = [
        (
            target["promise"],
            f"{target['bound']} {target['limit']:g} {target['unit']}".rstrip(),
            f"{target['measured']:.4g} {target['unit']}".rstrip(),
            f"does not apply: {target['reason']}" if not target["applies"] else "yes" if target["met"] else "**no**",
        )
        for target in found
    ]
    return Table("targets", "Targets", ("", "target", "measured", "met"), "llll", rows) if rows else None
