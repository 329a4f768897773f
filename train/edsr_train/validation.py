"""The pictures that a run is judged by while it trains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edsr_runtime.metrics import PROTOCOLS, Protocol
from edsr_train.data.pictures import Pair
from edsr_train.evaluate import evaluate, evaluate_bicubic, mean_psnr
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.processes import Processes


@dataclass(frozen=True)
class Validation:
    """Whole pictures by scale; none at all if a run is not validated."""

    pairs: Mapping[int, Sequence[Pair]] = field(default_factory=dict)
    protocol: Protocol = PROTOCOLS["paper-y"]

    def __bool__(self) -> bool:
        return bool(self.pairs)

    def bicubic(self) -> dict[int, float]:
        """Mean PSNR of bicubic by scale, dB; ShapeError if a picture is too small to be scored."""
        return {
            scale: mean_psnr(list(evaluate_bicubic(pairs, scale, self.protocol))) for scale, pairs in self.pairs.items()
        }

    def psnr(self, network: SuperResolutionNetwork, processes: Processes) -> dict[int, float]:
        """Mean PSNR of the network by scale, dB; every process scores its part of the pictures."""
        scores = {}
        for scale, pairs in self.pairs.items():
            own = pairs[processes.rank :: processes.world]
            found = processes.gather(list(evaluate(network, own, scale, self.protocol)))
            scores[scale] = mean_psnr(found)
        return scores
