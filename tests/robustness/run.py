"""Everything that tries to break a job, part after part: ``run.py [--only kills,soak] [--left]``.

Every part is written to docs/robustness.json as soon as it has ended, with its date, machine, commit and versions, and
shown in docs/robustness.md. So a run that was ended goes on with ``--left``, and parts of several days or machines say
so. 0 if everything that was run survived.
"""

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "runtime"), str(ROOT / "tests" / "support")]

import fuzz_targets  # noqa: E402
import survival_table as table  # noqa: E402
from benchmarks import machine as machines  # noqa: E402

PARTS: dict[str, tuple[str, ...]] = {
    "kills": ("test_kills.py",),
    "signals": ("test_signals.py",),
    "disk": ("test_full_disk.py",),
    "pictures": ("test_bad_pictures.py",),
    "models": ("test_bad_models.py",),
    "soak": ("test_soak.py",),
    "load": ("test_load.py", "test_two_at_once.py"),
    "tiles": ("test_tiles.py",),
    "ray": ("test_ray.py", "test_costs.py::test_a_cluster_costs_less_than_a_tenth"),
    "sandbox": ("test_costs.py::test_what_the_sandbox_costs",),
}
"""What pytest is given for each, seen from this folder."""
FUZZ = "fuzz"
"""As many parts as there are parsers, an hour in all: only where they are asked for."""
FUZZ_PARTS = {f"{FUZZ} {name}": name for name in fuzz_targets.names()}
_WITH_DAEMONS = ("ray",)
"""Parts whose processes are nobody's children, and would be taken for others."""


def run_part(name: str, more: list[str]) -> dict[str, Any]:
    """One part, in a pytest of its own, for the JSON.

    Args:
        name: of the part.
        more: arguments for pytest, or for the program that fuzzes.
    """
    when, commit, others = machines.now(), current_commit(), machines.OthersMeter()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tests = Path(folder, "tests.json")
        if name in FUZZ_PARTS:
            program = [str(ROOT / "tests" / "fuzz" / "run.py"), "--only", FUZZ_PARTS[name]]
        else:
            program = ["-m", "pytest", *(str(HERE / path) for path in PARTS[name])]
        command = [sys.executable, *program, *more]
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, "EDSR_SURVIVAL": str(tests)}).returncode
        tried = json.loads(tests.read_text()) if tests.exists() else []
    share = None if name in _WITH_DAEMONS else others.share()
    machine = machines.describe_machine()
    return {
        "when": when,
        "seconds": round(time.monotonic() - start),
        "machine": {
            "cpu": machine.cpu,
            "cores": machine.usable_cpus,
            "memory_bytes": machine.memory_bytes,
            "system": machine.system,
            "python": machine.python,
        },
        "commit": commit,
        "versions": _versions(),
        "busy": machines.why_loaded((0.0, 0.0, 0.0), share),  # the load before is that of the part before
        "exit_code": code,
        "tried": len(tried),
        "survived": sum(test["outcome"] == "passed" for test in tried),
        "tests": tried,
    }


def has_survived(part: dict[str, Any]) -> bool:
    """Whether all of a part was tried and went well: what was skipped was not."""
    return part["exit_code"] == 0 and 0 < part["tried"] == part["survived"]


def is_left(name: str, known: dict[str, Any]) -> bool:
    """Whether a part is still to be run: it has not survived, or not on this very commit."""
    part, commit = known.get(name), current_commit()
    is_sure = commit is not None and not commit["modified"]
    return part is None or not has_survived(part) or not is_sure or part["commit"] != commit


def current_commit() -> dict[str, Any] | None:
    """Of the project, and whether files differ from it, other than those that are written here."""
    written = [f":!{path.relative_to(ROOT)}" for path in (table.RESULT, table.DOCUMENT)]
    try:
        return {
            "id": _git("rev-parse", "HEAD"),
            "modified": bool(_git("status", "--porcelain", "--untracked-files=no", "--", ".", *written)),
        }
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, text=True, capture_output=True, check=True).stdout.strip()


def _versions() -> dict[str, str]:
    found = machines.package_versions()
    for name in ("imagecodecs", "ray", "safetensors"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _write(parts: dict[str, Any]) -> None:
    """In the order of ``PARTS``, in one step."""
    found = {"parts": {name: parts[name] for name in (*PARTS, *FUZZ_PARTS) if name in parts}}
    beside = table.RESULT.with_suffix(".part")
    beside.write_text(json.dumps(found, indent=1) + "\n")
    beside.replace(table.RESULT)
    table.DOCUMENT.write_text(table.filled(table.DOCUMENT.read_text(), found))


def main() -> int:
    """0 if everything that was run survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="PART,PART,...", help=", ".join((*PARTS, FUZZ, *FUZZ_PARTS)))
    parser.add_argument("--left", action="store_true", help="leave out what has survived on this commit")
    parser.add_argument("--seconds", type=int, default=3600, help="of all that is fuzzed, together")
    given, more = parser.parse_known_args()
    wanted = given.only.split(",") if given.only else list(PARTS)
    wanted = [part for name in wanted for part in (FUZZ_PARTS if name == FUZZ else [name])]
    if unknown := [name for name in wanted if name not in (*PARTS, *FUZZ_PARTS)]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join((*PARTS, FUZZ, *FUZZ_PARTS))}")
    each = max(1, given.seconds // len(FUZZ_PARTS))
    failed = []
    for name in wanted:
        known = json.loads(table.RESULT.read_text())["parts"] if table.RESULT.exists() else {}
        if given.left and not is_left(name, known):
            print(f"{name}: has survived on this commit", flush=True)
            continue
        part = run_part(name, [*more, "--seconds", str(each)] if name in FUZZ_PARTS else more)
        if part["tried"]:  # else there is nothing to tell, and what is known stays
            _write(known | {name: part})
        busy = f"; {part['busy']}" if part["busy"] else ""
        print(f"{name}: {part['survived']} of {part['tried']} survived in {part['seconds']} s{busy}", flush=True)
        if not has_survived(part):
            failed.append(name)
    if failed:
        print(f"not survived: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
