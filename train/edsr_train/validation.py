"""The pictures that a run is judged by while it trains."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from isal import isal_zlib

from edsr_runtime.metrics import PROTOCOLS, Protocol
from edsr_train.data.pictures import Pair, Pixels
from edsr_train.evaluate import psnr_of, super_resolve, upscale_bicubic
from edsr_train.memory import memory_for
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.processes import Processes


@dataclass(frozen=True)
class Validation:
    """Whole pictures by scale; none at all if a run is not validated."""

    pairs: Mapping[int, Sequence[Pair]] = field(default_factory=dict)
    protocol: Protocol = PROTOCOLS["paper-y"]

    def __bool__(self) -> bool:
        return bool(self.pairs)

    @property
    def fingerprint(self) -> str:
        """SHA-256, equal if scores can be compared: of the protocol, and of names and pixels in order."""
        pictures = [
            [scale, [(pair.name, *_contents(pair.lr), *_contents(pair.hr)) for pair in pairs]]
            for scale, pairs in sorted(self.pairs.items())
        ]
        return hashlib.sha256(json.dumps([self.protocol.id, pictures]).encode()).hexdigest()

    def bicubic(self) -> dict[int, float]:
        """Mean PSNR of bicubic by scale, dB; ShapeError if a picture is too small to be scored."""
        return {
            scale: _mean([psnr_of(upscale_bicubic(pair.lr, scale), pair, scale, self.protocol) for pair in pairs])
            for scale, pairs in self.pairs.items()
        }

    def try_largest(self, network: SuperResolutionNetwork) -> None:
        """Run the network on the largest picture of every scale: what is too large for the memory shows now.

        Raises:
            EnvironmentUnfitError: it does not fit.
        """
        for scale, pairs in self.pairs.items():
            largest = max(pairs, key=lambda pair: pair.lr.size)
            height, width = largest.lr.shape[:2]
            what = f"the validation picture {largest.name}, {height}x{width} LR (HxW) at x{scale}, taken whole,"
            with memory_for(what, "Validate on smaller pictures"):
                super_resolve(network.branch(scale), largest.lr)

    def psnr(
        self, network: SuperResolutionNetwork, processes: Processes, should_stop: Callable[[], bool] = lambda: False
    ) -> dict[int, float] | None:
        """Mean PSNR of the network by scale, dB; every process scores its part of the pictures.

        Args:
            network: what is judged.
            processes: all of them call this.
            should_stop: asked before every picture; if true in any process, there is no score.

        Raises:
            NumericalError: the network gave NaN or infinity.
        """
        own: dict[int, list[float]] = {scale: [] for scale in self.pairs}
        is_whole = True
        with processes.together():
            for scale, pairs in self.pairs.items():
                branch = network.branch(scale)
                for pair in pairs[processes.rank :: processes.world]:
                    if not is_whole or should_stop():
                        is_whole = False
                        break
                    own[scale].append(psnr_of(super_resolve(branch, pair.lr), pair, scale, self.protocol))
        if not all(processes.gather([is_whole])):
            return None
        return {scale: _mean(processes.gather(scores)) for scale, scores in own.items()}


def _contents(pixels: Pixels) -> tuple[int, int, int]:
    return pixels.shape[0], pixels.shape[1], isal_zlib.crc32(np.ascontiguousarray(pixels).reshape(-1).data)


def _mean(psnr: Sequence[float]) -> float:
    """Over pictures, of dB, as papers report it."""
    return float(np.mean(psnr))
