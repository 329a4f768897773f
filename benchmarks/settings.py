"""How much is measured, and on what."""

from dataclasses import dataclass

MEASUREMENTS = ("speed", "ring", "psnr", "sets", "encode", "memory", "loader", "claims")
DEFAULT_MEASUREMENTS = ("speed", "ring", "psnr", "sets", "encode", "loader")
"""Without memory, which takes minutes and gigabytes on the disk, and claims, which trains for half an hour."""


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
    loader_rounds: int = 10
    loader_pictures: int = 16
    """Enough for no cache of the processor to hold them."""
    loader_hw: tuple[int, int] = (1356, 2040)
    """HR, as most of DIV2K."""
    loader_patches: tuple[int, ...] = (48, 32)
    """Side, LR pixels."""
    loader_batch: int = 16
    loader_updates: int = 20
    """Batches per timing of the loader."""
    claims_updates: int = 3000
    """Of each training run."""
    claims_validate_every: int = 250
    claims_batch: int = 16
    claims_patch: int = 32
    """Side of what is trained on, LR pixels."""
    claims_memory_scales: tuple[int, ...] = (2, 4)
    claims_memory_patch: int = 48
    """Side where memory is counted, LR pixels: the paper's."""
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
        loader_rounds=rounds,
        loader_pictures=2,
        loader_hw=(110, 130),
        loader_patches=(8,),
        loader_batch=2,
        loader_updates=2,
        claims_updates=4,
        claims_validate_every=2,
        claims_batch=2,
        claims_patch=8,
        claims_memory_scales=(2,),
        claims_memory_patch=8,
        smoke=True,
    )
