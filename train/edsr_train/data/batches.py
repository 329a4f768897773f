"""The batches of many updates, cut while the GPU still computes the update before."""

from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, closing
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from edsr_train.data.in_order import in_order
from edsr_train.data.patches import Plan
from edsr_train.data.training_set import TrainingSet

Mark = TypeVar("Mark")


class Batch(NamedTuple):
    """What an update needs; see ``TrainingSet.cut``."""

    scale: int
    lr: Tensor
    hr: Tensor


def batches(data: TrainingSet, plans: Iterable[Plan]) -> Generator[Batch, None, None]:
    """A batch for each plan, in their order.

    On a CPU each is cut when it is asked for: all cores are busy with the update anyway. On a GPU one thread cuts ahead
    and starts the copies, on a stream of its own.
    """
    if data.device.type != "cuda":
        for plan in plans:
            yield Batch(plan.scale, *data.cut(plan))
        return
    copies = torch.cuda.Stream(data.device)

    def wait(batch: Batch, cut: Any) -> None:
        computing = torch.cuda.current_stream(data.device)
        computing.wait_event(cut)
        for tensor in (batch.lr, batch.hr):
            tensor.record_stream(computing)  # or its memory is used again as soon as the copying stream is done

    yield from cut_ahead(data, plans, lambda: torch.cuda.stream(copies), copies.record_event, wait)


def cut_ahead(
    data: TrainingSet,
    plans: Iterable[Plan],
    working: Callable[[], AbstractContextManager[object]],
    mark: Callable[[], Mark],
    wait: Callable[[Batch, Mark], None],
) -> Generator[Batch, None, None]:
    """Cut in one thread, which is up to two batches ahead.

    Args:
        data: where patches are cut.
        plans: are asked for in this thread, in order.
        working: the thread cuts within this context.
        mark: called in the thread after every batch.
        wait: called with a batch and its mark before it is given out.
    """

    def cut(plan: Plan) -> tuple[Batch, Mark]:
        with working():
            return Batch(plan.scale, *data.cut(plan)), mark()

    with closing(in_order(cut, plans, threads=1)) as ahead:
        for batch, mark_of_batch in ahead:
            wait(batch, mark_of_batch)
            yield batch
