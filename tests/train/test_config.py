"""Options of a run: the paper's by default, the learning rate at every update, nonsense refused."""

import pytest

from edsr_runtime.errors import EdsrError
from edsr_train.config import TrainConfig


def test_defaults_are_the_papers() -> None:
    config = TrainConfig()  # arXiv:1707.02921, section 4.2
    assert (config.patch, config.batch, config.lr, config.halve_every) == (48, 16, 1e-4, 200_000)
    assert (config.loss, config.schedule, config.warmup, config.ema) == ("l1", "halving", 0, 0)


@pytest.mark.parametrize(("update", "halvings"), [(0, 0), (199_999, 0), (200_000, 1), (399_999, 1), (400_000, 2)])
def test_the_rate_halves_every_two_hundred_thousand_updates(update: int, halvings: int) -> None:
    assert TrainConfig().lr_at(update) == 1e-4 / 2**halvings


def test_warm_up_is_linear_and_ends_at_the_full_rate() -> None:
    config = TrainConfig(lr=4e-4, warmup=4, updates=100)
    assert [config.lr_at(update) for update in range(5)] == pytest.approx([1e-4, 2e-4, 3e-4, 4e-4, 4e-4])


def test_cosine_goes_from_the_full_rate_to_zero() -> None:
    config = TrainConfig(lr=1e-3, schedule="cosine", warmup=10, updates=110)
    assert config.lr_at(10) == 1e-3
    assert config.lr_at(60) == pytest.approx(5e-4)
    assert config.lr_at(110) == 0
    rates = [config.lr_at(update) for update in range(10, 111)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"patch": 0}, "patch is 0, expected at least 1"),
        ({"updates": 0}, "updates is 0, expected at least 1"),
        ({"lr": 0.0}, "the learning rate is 0, expected a positive number"),
        ({"lr": float("nan")}, "the learning rate is nan"),
        ({"lr": float("inf")}, "the learning rate is inf"),
        ({"ema": 1.0}, "the EMA decay is 1, expected 0"),
        ({"warmup": 50, "updates": 50}, "warmup is 50, expected 0"),
        ({"warmup": -1}, "warmup is -1"),
        ({"seed": -1}, "the seed is -1"),
    ],
)
def test_nonsense_is_refused(options: dict[str, float], sentence: str) -> None:
    with pytest.raises(EdsrError, match=sentence):
        TrainConfig(**options)  # type: ignore[arg-type]
