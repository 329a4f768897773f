"""How much is measured, and on what."""

from dataclasses import dataclass

MEASUREMENTS = ("speed", "ring", "psnr", "encode", "memory")
DEFAULT_MEASUREMENTS = ("speed", "ring", "psnr", "encode")
"""Without memory, which takes minutes and gigabytes on the disk."""


@dataclass(frozen=True)
class Settings:
    """Sizes and counts; stored with the results."""

    scales: tuple[int, ...] = (2, 3, 4)
    """Of speed and ring."""
    speed_rounds: int = 10
    ring_rounds: int = 15
    """More than elsewhere: what is looked for is a few percent."""
    encode_rounds: int = 10
    warm_up: int = 2
    lr_hw: tuple[int, int] = (192, 256)
    """LR picture of speed and ring."""
    n_resblocks: int = 16
    n_feats: int = 64
    """16x64 is EDSR-baseline."""
    psnr_side: int | None = None
    """Height and width of the part of each picture that counts, LR pixels; None: all of it."""
    encode_side: int = 2048
    """Side of the picture that is encoded, HR pixels."""
    memory_side: int = 10_000
    """Side of the LR picture: 100 megapixels."""
    memory_scales: tuple[int, ...] = (2,)
    smoke: bool = False
    """The numbers mean nothing; see ``smoke_settings``."""

    @property
    def why_no_target(self) -> str:
        """The reason why no target applies, or nothing."""
        return "smoke run" if self.smoke else ""


def smoke_settings(rounds: int = 2) -> Settings:
    """Everything runs once, on tiny networks and pictures: shows that the benchmark works, not how fast anything is."""
    return Settings(
        scales=(4,),
        speed_rounds=rounds,
        ring_rounds=rounds,
        encode_rounds=rounds,
        warm_up=1,
        lr_hw=(24, 32),
        n_resblocks=1,
        n_feats=8,
        psnr_side=48,
        encode_side=128,
        memory_side=400,
        smoke=True,
    )
