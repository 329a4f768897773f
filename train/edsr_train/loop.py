"""The training loop: one function from options to a checkpoint, stoppable and resumable at any update."""

import copy
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edsr_runtime.errors import DataError
from edsr_runtime.metrics import PROTOCOLS
from edsr_train.checkpoint import save_checkpoint
from edsr_train.config import TrainConfig
from edsr_train.data import Pair, PatchSampler
from edsr_train.evaluate import evaluate, mean_psnr
from edsr_train.models import EDSR

MAX_BAD_STEPS = 10  # in a row; a run that diverged does not come back


def train(
    network: EDSR,
    config: TrainConfig,
    pairs: list[Pair],
    validation: list[Pair],
    output: Path,
    *,
    resume: dict[str, Any] | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Train ``network`` in place and write ``output`` at every validation and at the end.

    Args:
        network: the network, on the CPU; EMA, if any, is kept in a copy and is what ``output`` holds.
        config: the options.
        pairs: training pictures.
        validation: pictures scored every ``validate_every`` updates under ``paper-y``; may be empty.
        output: checkpoint, replaced atomically; carries configuration, optimizer, random states and position.
        resume: the ``training`` entry of a checkpoint that an earlier call wrote; the run goes on bit-exactly.
        report: takes one line of text.

    Raises:
        DataError: ten updates in a row gave a loss that is not a number.
    """
    rng = np.random.default_rng(config.seed)
    sampler = PatchSampler(pairs, network.config.scale, config.patch, rng)
    averaged = copy.deepcopy(network)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=config.lr, fused=True)
    start = 0
    if resume is not None:
        network.load_state_dict(resume["weights"])
        averaged.load_state_dict(resume["averaged"])
        optimizer.load_state_dict(resume["optimizer"])
        rng.bit_generator.state = resume["rng"]
        start = resume["updates"]
    if config.bf16:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    forward = torch.compile(network) if config.compile else network
    criterion: Callable[[Tensor, Tensor], Tensor] = nn.L1Loss() if config.loss == "l1" else nn.MSELoss()

    def save(done: int) -> None:
        state = {
            "options": asdict(config),
            "updates": done,
            "weights": network.state_dict(),
            "averaged": averaged.state_dict(),
            "optimizer": optimizer.state_dict(),
            "rng": rng.bit_generator.state,
        }
        save_checkpoint(output, averaged, {"training": state})

    losses: list[float] = []
    bad_steps, since = 0, time.monotonic()
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
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
        bad_steps = 0 if np.isfinite(losses[-1]) else bad_steps + 1
        if bad_steps == 0:
            optimizer.step()
            _average(averaged, network, min(config.ema, (1 + update) / (10 + update)))
        elif bad_steps == MAX_BAD_STEPS:
            raise DataError(f"the loss was not a number for {MAX_BAD_STEPS} updates in a row: lower the learning rate")
        done = update + 1
        if done % config.validate_every == 0 or done == config.updates:
            speed = len(losses) / (time.monotonic() - since)
            save(done)
            line = f"update {done}/{config.updates}  loss {np.nanmean(losses):.4f}  {speed:.1f} updates/s"
            if validation:
                scores = evaluate(averaged.eval(), validation, network.config.scale, PROTOCOLS["paper-y"])
                line += f"  paper-y {mean_psnr(scores):.3f} dB"
            report(line)
            losses, since = [], time.monotonic()


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    targets, sources = list(averaged.parameters()), list(network.parameters())
    torch._foreach_lerp_(targets, sources, 1 - decay)
