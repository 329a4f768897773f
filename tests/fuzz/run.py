"""All fuzz targets, one after another: ``run.py --seconds 3600 [--only NAME]``; the end of each is printed.

What became of each is written as JSON to the file that EDSR_SURVIVAL names. What breaks a parser is left in
``fuzz-findings``; the inputs that reached something new, in ``.fuzz-corpus``.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from fuzz_targets import TARGET, names  # noqa: E402

MAX_INPUT_BYTES = 20_000


def main() -> int:
    """0 if nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--only", choices=names())
    given = parser.parse_args()
    wanted = [given.only] if given.only else names()
    search = [str(ROOT / name) for name in ("runtime", "train", "export", "tests/support")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*search, *filter(None, [os.environ.get("PYTHONPATH")])])}
    findings = ROOT / "fuzz-findings"
    findings.mkdir(exist_ok=True)
    env["EDSR_FINDINGS"] = str(findings)
    failed = []
    tests: list[dict[str, Any]] = []
    for name in wanted:
        corpus = ROOT / ".fuzz-corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, str(TARGET), name, "--seeds", str(corpus)], env=env, check=True)
        options = [
            f"-max_total_time={max(1, given.seconds // len(wanted))}",
            f"-artifact_prefix={findings}/{name}-",
            f"-max_len={MAX_INPUT_BYTES}",
            "-timeout=10",
            "-rss_limit_mb=4096",
            "-print_final_stats=1",
        ]
        words = [sys.executable, str(TARGET), name, *options, str(corpus)]
        start = time.monotonic()
        done = subprocess.run(words, env=env, text=True, errors="replace", stderr=subprocess.PIPE)
        tried = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
        covered = re.findall(r"cov: (\d+)", done.stderr)
        print(f"{name}: {tried[1] if tried else '?'} inputs, coverage {covered[-1] if covered else '?'}", flush=True)
        tests.append(
            {
                "test": f"tests/fuzz/target.py {name}",
                "outcome": "failed" if done.returncode else "passed",
                "seconds": round(time.monotonic() - start, 1),
                "fuzz": {
                    "inputs": int(tried[1]) if tried else None,
                    "coverage": int(covered[-1]) if covered else None,
                },
            }
        )
        if done.returncode:
            failed.append(name)
            print(done.stderr[-3000:], flush=True)
    if survival := os.environ.get("EDSR_SURVIVAL"):
        Path(survival).write_text(json.dumps(tests, indent=1) + "\n")
    if not any(findings.iterdir()):
        findings.rmdir()
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
