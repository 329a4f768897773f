"""What a Ray cluster costs beside the built-in executor, and --sandbox beside decoding here."""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from judged import is_quiet

HERE = Path(__file__).parent
RAY_PICTURES = 200
RAY_OVERHEAD = 0.10
pytestmark = pytest.mark.slow


def measured(program: str, *words: str) -> dict[str, Any]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, str(HERE / program), *words], env=env, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install '...[ray]'")
def test_a_cluster_costs_less_than_a_tenth(record_property: Callable[[str, object], None]) -> None:
    found = measured("measure_ray.py", "--pictures", str(RAY_PICTURES))
    overhead = statistics.median(one["overhead"] for one in found["rounds"])
    share = found["others_share"]
    record_property("ray", found | {"overhead": overhead, "judged": is_quiet(share)})
    assert overhead < RAY_OVERHEAD or not is_quiet(share)


def test_what_the_sandbox_costs(record_property: Callable[[str, object], None]) -> None:
    found = measured("measure_sandbox.py")
    record_property("sandbox", found)
    assert set(found) == {"256x256", "1080x1920", "4000x6000", "start_ms"}
    assert found["start_ms"] > 0
    assert all(size["sandbox_ms"] > 0 for name, size in found.items() if name != "start_ms")
