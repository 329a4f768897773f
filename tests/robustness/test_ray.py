"""A job on a local cluster of two nodes: the same bytes, and what dies costs nothing but time."""

import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import commands

os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")  # on a busy machine; read when Ray is imported
pytest.importorskip("ray", reason="Ray is not installed: pip install 'edsr-toolkit[ray]'")
# Ray leaves files and sockets to the garbage collector, and warns of its own future.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

from edsr_runtime.cluster.ray_executor import Slots, upscale_on_ray  # noqa: E402
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError  # noqa: E402
from edsr_runtime.jobs import Job, plan_work  # noqa: E402
from edsr_runtime.pipeline import Options, Result, upscale_files  # noqa: E402
from photographs import noise, save  # noqa: E402
from ray_engines import Doubling, Unfit  # noqa: E402

PICTURES = 40


class Record:
    def __init__(self) -> None:
        self.results: dict[str, Result] = {}
        self.pixels = 0

    def opened(self, job: Job, lr_hw: tuple[int, int]) -> None:
        pass

    def advanced(self, job: Job, pixels: int) -> None:
        self.pixels += pixels

    def finished(self, result: Result) -> None:
        assert result.job.source.name not in self.results
        self.results[result.job.source.name] = result


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes with two slots each, and this process connected to them."""
    import ray  # pyright: ignore[reportMissingImports]
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # of the nodes, and of their actors
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    second = cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        yield cluster, second
    finally:
        ray.shutdown()
        cluster.shutdown()


def put(folder: Path, *first: int) -> list[Job]:
    for number in range(PICTURES):
        pixels = np.random.default_rng(number).integers(20, 256, (6, 7, 3), dtype=np.uint8)
        if number < len(first):
            pixels[0, 0, 0] = first[number]
        save(pixels, folder / "in" / f"{number}.png")
    (folder / "in" / "broken.png").write_bytes(b"no picture")
    return list(plan_work([folder / "in"], f"{folder / 'out'}/").planned)


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def alone(folder: Path) -> dict[str, bytes]:
    jobs = plan_work([folder / "in"], f"{folder / 'alone'}/").jobs
    (folder / "killed").touch()
    upscale_files(jobs, Doubling(folder), Options(), Record())
    (folder / "killed").unlink()
    return outputs(folder / "alone")


def test_outputs_are_those_of_a_single_process(cluster: Any, tmp_path: Path) -> None:
    jobs, record, said = put(tmp_path), Record(), []
    upscale_on_ray(jobs, partial(Doubling, tmp_path), Options(receipts=True), record, say=said.append)
    assert said == ["ray: 4 actors on 2 nodes", "doubling"]  # what all actors say is said once
    assert 1 <= len((tmp_path / "loaded").read_text().splitlines()) <= 4  # once for each actor, not for each picture
    assert outputs(tmp_path / "out") == alone(tmp_path)
    assert len(record.results) == PICTURES + 1
    assert {name for name, result in record.results.items() if result.error} == {"broken.png"}
    assert all(result.output for result in record.results.values() if not result.error)
    assert all(result.job in jobs for result in record.results.values())


def test_paths_go_out_and_receipts_come_back_and_never_pixels(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray.data  # pyright: ignore[reportMissingImports]

    kept: list[Any] = []
    iterate = ray.data.Dataset.iter_rows

    def iter_rows(dataset: Any, **options: Any) -> Any:
        kept.append(dataset)
        return iterate(dataset, **options)

    monkeypatch.setattr(ray.data.Dataset, "iter_rows", iter_rows)
    side, pictures = 300, 6
    for number in range(pictures):
        save(noise(side, side, number), tmp_path / "in" / f"{number}.png")
    jobs, record = list(plan_work([tmp_path / "in"], f"{tmp_path / 'out'}/").jobs), Record()
    upscale_on_ray(jobs, partial(Doubling, tmp_path), Options(receipts=True), record)
    (dataset,) = kept
    totals = re.findall(r"^\* Output size bytes per block: .*?(\d+) total", dataset.stats(), flags=re.MULTILINE)
    assert len(totals) == 2, dataset.stats()  # what went out, and what came back
    assert 0 < sum(map(int, totals)) < 4000 * pictures < side * side * 3  # of a single picture
    assert record.pixels == pictures * (2 * side) ** 2  # which is known here all the same


def test_the_command_keeps_the_same_journal_and_leaves_alone_what_is_done(cluster: Any, tmp_path: Path) -> None:
    whole, _ = cluster
    for number in range(6):
        save(noise(20, 18, number), tmp_path / "in" / f"{number}.png")
    words = ["-i", "in", "-s", "2", "--backend", "onnxruntime", "--threads", "1"]
    on_ray = [*words, "-o", "out", "--executor", "ray", "--address", whole.address]
    done = commands.run([*words, "-o", "here"], tmp_path, program=commands.REAL)
    assert done.returncode == 0, done.stderr
    done = commands.run(on_ray, tmp_path, program=commands.REAL)
    assert done.returncode == 0, done.stderr
    made = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.png")}
    assert made == {path.name: path.read_bytes() for path in (tmp_path / "here").glob("*.png")} and len(made) == 6
    (tmp_path / "out/3.png").unlink()
    done = commands.run([*words, "-o", "out", "--resume", "--dry-run"], tmp_path, program=commands.REAL)
    assert "made again, since its output is gone: in/3.png" in done.stderr  # by this process, of the same journal
    done = commands.run([*on_ray, "--resume"], tmp_path, program=commands.REAL)
    assert done.returncode == 0, done.stderr
    assert "5 done earlier (input and output are as they were)" in done.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.png")} == made


def test_an_actor_that_is_killed_costs_nothing_but_time(cluster: Any, tmp_path: Path) -> None:
    jobs, record = put(tmp_path, *([0] * 9), 15), Record()
    upscale_on_ray(jobs, partial(Doubling, tmp_path), Options(receipts=True, tag="abcd"), record)
    assert (tmp_path / "killed").exists()
    assert outputs(tmp_path / "out") == alone(tmp_path)
    assert len(record.results) == PICTURES + 1


def test_a_node_that_is_lost_costs_nothing_but_time(cluster: Any, tmp_path: Path) -> None:
    whole, second = cluster
    jobs = put(tmp_path)

    class Losing(Record):
        def finished(self, result: Result) -> None:
            super().finished(result)
            if len(self.results) == 8:
                whole.remove_node(second, allow_graceful=False)

    record = Losing()
    upscale_on_ray(jobs, partial(Doubling, tmp_path, 0.1), Options(receipts=True, tag="abcd"), record)
    assert outputs(tmp_path / "out") == alone(tmp_path)
    assert len(record.results) == PICTURES + 1


def test_a_model_that_cannot_be_loaded_ends_the_work_with_its_sentence(cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(EdsrError, match=r"^no such thing here$") as caught:
        upscale_on_ray(put(tmp_path), Unfit, Options(), Record())  # type: ignore[arg-type]
    assert caught.value.exit_code == 4


def test_actors_that_fit_nowhere_are_a_sentence(cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnfitError, match="no machine of the cluster has 3 CPUs for an actor"):
        upscale_on_ray(put(tmp_path), partial(Doubling, tmp_path), Options(), Record(), slots=Slots(cpus=3))
