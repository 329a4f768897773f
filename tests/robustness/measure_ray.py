"""What a local Ray cluster costs: the same pictures by the built-in executor and by one actor, once workers are up."""

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import ray  # pyright: ignore[reportMissingImports]

from benchmarks.machine import OthersMeter
from edsr_runtime.cluster.ray_executor import Slots, upscale_on_ray
from edsr_runtime.jobs import Job, plan_work
from edsr_runtime.pictures.picture import Picture
from edsr_runtime.pictures.write import write_picture
from edsr_runtime.pipeline import Options, Result, upscale_files
from edsr_runtime.upscaler import Upscaler
from edsr_runtime.zoo import model_path


class Clock:
    """A watcher that knows when the first and the last picture were done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def opened(self, job: Job, lr_hw: tuple[int, int]) -> None:
        pass

    def advanced(self, job: Job, pixels: int) -> None:
        pass

    def finished(self, result: Result) -> None:
        assert result.error is None, result.error
        self.times.append(time.perf_counter())

    @property
    def rate(self) -> float:
        """Pictures per second after the first quarter of them, in which workers come up."""
        first = len(self.times) // 4
        return (len(self.times) - 1 - first) / (self.times[-1] - self.times[first])


def main() -> None:
    """Print rates and overhead as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    opening = partial(Upscaler, model_path("edsr-small", 2), backend="onnxruntime", threads=given.threads)
    rounds = []
    shares: list[float | None] = []
    ray.init(num_cpus=given.threads, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.pictures):
            rows = np.random.default_rng(number).integers(0, 256, (256, 256, 3), dtype=np.uint8)
            path = Path(folder, "in", f"{number}.png")
            path.parent.mkdir(exist_ok=True)
            write_picture(path, Picture(rows, None))
        for _ in range(given.rounds):
            jobs = plan_work([Path(folder, "in")], f"{folder}/out/", overwrite=True).jobs
            built_in, cluster = Clock(), Clock()
            meter = OthersMeter()  # of the built-in part: Ray's own processes would count as others
            with opening() as upscaler:
                upscale_files(jobs, upscaler, Options(), built_in)
            shares.append(meter.share())
            upscale_on_ray(jobs, opening, Options(), cluster, slots=Slots(cpus=given.threads))
            rounds.append({"built_in_per_s": built_in.rate, "ray_per_s": cluster.rate})
            rounds[-1]["overhead"] = built_in.rate / cluster.rate - 1
    ray.shutdown()
    others = None if None in shares else max(share for share in shares if share is not None)
    found = {"pictures": given.pictures, "threads": given.threads, "rounds": rounds, "others_share": others}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
