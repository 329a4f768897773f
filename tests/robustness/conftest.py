"""What was tried and what survived, as JSON in the file that EDSR_SURVIVAL names; ``run.py`` puts that together."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

_REPORT = pytest.StashKey[list[dict[str, Any]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_REPORT] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report: pytest.TestReport = yield
    if report.when == "call" or report.outcome != "passed":
        item.config.stash[_REPORT].append(
            {
                "test": report.nodeid,
                "outcome": report.outcome,
                "seconds": round(report.duration, 1),
                **dict(report.user_properties),
            }
        )
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    target = os.environ.get("EDSR_SURVIVAL")
    if target:
        Path(target).write_text(json.dumps(session.config.stash[_REPORT], indent=1) + "\n")
