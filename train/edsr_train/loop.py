"""The training loop: one function from options to a checkpoint, stoppable and resumable at any update."""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edsr_runtime.errors import CheckpointError, DataError, NumericalError
from edsr_runtime.metrics import PROTOCOLS
from edsr_train.checkpoint import save_checkpoint
from edsr_train.config import TrainConfig
from edsr_train.data import Pair, PatchSampler, fingerprint
from edsr_train.evaluate import evaluate, mean_psnr
from edsr_train.models import EDSR

MAX_BAD_STEPS = 10  # in a row; a run that diverged does not come back


@dataclass(frozen=True)
class Progress:
    """Where a run is after an update."""

    done: int
    """Updates done, those of earlier sessions included."""
    loss: float
    """Of the last update; not finite if it was skipped."""


def train(
    network: EDSR,
    config: TrainConfig,
    pairs: list[Pair],
    validation: list[Pair],
    output: Path,
    *,
    resume: Mapping[str, Any] | None = None,
    report: Callable[[str], None] = print,
    on_update: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Train ``network`` in place and write ``output`` at every validation and at the end.

    A step whose loss or gradient is not finite is skipped and counted.

    Args:
        network: the network, on the CPU; EMA, if any, is kept in a copy and is what ``output`` holds.
        config: the options.
        pairs: training pictures.
        validation: pictures scored every ``validate_every`` updates under ``paper-y``; may be empty.
        output: checkpoint, replaced atomically; carries configuration, optimizer, random state and position.
        resume: the ``training`` entry of a checkpoint that an earlier call wrote; the run goes on bit-exactly, given
            the same number of threads.
        report: takes one line of text at every validation.
        on_update: called after every update.
        should_stop: asked after every update; if true, ``output`` is written and the run ends there.

    Returns:
        The number of updates done: fewer than ``config.updates`` if it was stopped.

    Raises:
        NumericalError: ten updates in a row had a loss or gradient that is not finite.
        DataError: ``resume`` is of other pictures, or ``output`` cannot be written.
        CheckpointError: ``resume`` is damaged.
    """
    rng = np.random.default_rng(config.seed)
    sampler = PatchSampler(pairs, network.config.scale, config.patch, rng)
    averaged = copy.deepcopy(network)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=config.lr, fused=True)
    data = fingerprint(pairs)
    start = 0
    if resume is not None:
        if resume.get("data", data) != data:
            raise DataError(
                f"{output}: the training pictures are not those the run began with. Give the same --data, in the same "
                "order, or begin a new run from these weights: --init"
            )
        try:
            start = _restore(resume, network, averaged, optimizer, rng)
        except (KeyError, TypeError, ValueError, RuntimeError) as err:
            reason = str(err).splitlines()[0]
            raise CheckpointError(f"{output}: its training state is damaged ({reason}). Begin anew: --init") from err
    if config.bf16:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    forward = torch.compile(network) if config.compile else network
    criterion: Callable[[Tensor, Tensor], Tensor] = nn.L1Loss() if config.loss == "l1" else nn.MSELoss()

    def save(done: int) -> None:
        state = {
            "options": asdict(config),
            "updates": done,
            "weights": dict(network.state_dict()),
            "averaged": dict(averaged.state_dict()),
            "optimizer": optimizer.state_dict(),
            "rng": rng.bit_generator.state,
            "data": data,
        }
        try:
            save_checkpoint(output, averaged, {"training": state})
        except OSError as err:
            raise DataError(f"{output}: cannot be written after update {done} ({err.strerror})") from err

    losses: list[float] = []
    saved = None if resume is None else start
    bad_in_a_row, skipped, since = 0, 0, time.monotonic()
    for update in range(start, config.updates):
        lr_batch, hr_batch = sampler.batch(config.batch)
        if config.bf16:
            lr_batch = lr_batch.contiguous(memory_format=torch.channels_last)
        for group in optimizer.param_groups:
            group["lr"] = config.lr_at(update)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            sr = forward(lr_batch)
        loss = criterion(sr.float(), hr_batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        losses.append(loss.item())
        if np.isfinite(losses[-1]) and _gradients_are_finite(trained):
            bad_in_a_row = 0
            optimizer.step()
            _average(averaged, network, min(config.ema, (1 + update) / (10 + update)))
        else:
            bad_in_a_row, skipped = bad_in_a_row + 1, skipped + 1
            if bad_in_a_row == MAX_BAD_STEPS:
                kept = "nothing was saved yet" if saved is None else f"{output} holds the state of update {saved}"
                raise NumericalError(
                    f"loss or gradient was not finite {MAX_BAD_STEPS} times in a row, up to update {update + 1}; "
                    f"{kept}. Begin a new run with a lower --lr or more --warmup"
                )

        done = update + 1
        on_update(Progress(done, losses[-1]))
        stopped = should_stop() and done < config.updates
        validates = done % config.validate_every == 0 or done == config.updates
        if validates or stopped:
            speed = len(losses) / (time.monotonic() - since)
            save(done)
            saved = done
        if validates:
            finite = [value for value in losses if np.isfinite(value)]
            line = f"update {done}/{config.updates}  loss {np.mean(finite) if finite else np.nan:.4f}"
            line += f"  {speed:.1f} updates/s"
            if skipped:
                line += f"  {skipped} skipped (loss or gradient not finite)"
            if validation:
                scores = list(evaluate(averaged.eval(), validation, network.config.scale, PROTOCOLS["paper-y"]))
                line += f"  paper-y {mean_psnr(scores):.3f} dB"
            report(line)
            losses, skipped, since = [], 0, time.monotonic()
        if stopped:
            return done
    return config.updates


def _restore(
    state: Mapping[str, Any],
    network: nn.Module,
    averaged: nn.Module,
    optimizer: torch.optim.Optimizer,
    rng: np.random.Generator,
) -> int:
    """Bring everything to where ``state`` was saved; the number of updates done until then."""
    network.load_state_dict(state["weights"])
    averaged.load_state_dict(state["averaged"])
    optimizer.load_state_dict(state["optimizer"])
    for parameter, moments in optimizer.state.items():
        if any(moments[name].shape != parameter.shape for name in ("exp_avg", "exp_avg_sq")):
            raise ValueError("the optimizer is of another network")
    rng.bit_generator.state = state["rng"]
    return int(state["updates"])


def _gradients_are_finite(parameters: list[nn.Parameter]) -> bool:
    gradients = [p.grad for p in parameters if p.grad is not None]
    return bool(torch.isfinite(nn.utils.get_total_norm(gradients, norm_type=float("inf"))))


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    for target, source in zip(averaged.parameters(), network.parameters(), strict=True):
        target.lerp_(source, 1 - decay)
