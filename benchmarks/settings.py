"""How much is measured, and on what."""

from dataclasses import dataclass, replace

from benchmarks.timing import Effort

_LATENCY = Effort(rounds=10, least_runs=10, least_seconds=1.0)  # a hundred runs: fewer have no 99th percentile
_OFFLINE = Effort(rounds=3, least_seconds=5.0, warm_up=0)  # folders take long, and every turn has a run for nothing
_FIELD = Effort(rounds=7, least_seconds=0.5, warm_up=1)

MEASUREMENTS = (
    *("cost", "latency", "models", "offline", "ring", "quality", "seams", "encode", "scaling", "startup"),
    *("loader", "memory", "claims", "field", "field-latency"),
)
QUICK_MEASUREMENTS = ("cost", "latency", "models", "offline", "quality", "seams", "scaling", "startup")
"""What a quick run measures; with quick settings, in under three minutes on two quiet cores."""


@dataclass(frozen=True)
class Settings:
    """Sizes and counts; stored with the results. The defaults are those of ``--full``."""

    scales: tuple[int, ...] = (2, 3, 4)
    """Of cost, latency and ring."""
    cost_all: bool = True
    """Whether large networks are counted too, which takes minutes to build."""
    cost_scales: tuple[int, ...] = (2, 3, 4)
    lr_hw: tuple[int, int] = (192, 256)
    """LR picture of latency and ring."""
    n_resblocks: int = 16
    n_feats: int = 64
    """16x64 is EDSR-baseline."""
    latency_effort: Effort = _LATENCY
    latency_tile: int = 128
    """Side of a tile with its halo, where tiles are compared with the whole picture; LR pixels."""
    peers: tuple[str, ...] | None = None
    """Names of those that are timed, besides what all are compared with; None: all."""
    slow_peers: bool = True
    """Those that take minutes to load."""
    ceiling_matrix: int = 2048
    ceiling_convolutions: tuple[tuple[int, tuple[int, int]], ...] = ((64, (192, 256)), (256, (96, 128)))
    """Channels, and (H, W)."""
    ceiling_copied_bytes: int = 1 << 28
    ceiling_rounds: int = 10
    offline_effort: Effort = _OFFLINE
    offline_pictures: int = 8
    offline_scale: int = 2
    ring_rounds: int = 15
    """More than elsewhere: what is looked for is a few percent."""
    encode_rounds: int = 10
    warm_up: int = 2
    """Of ring, encode and loader."""
    quality_sets: tuple[str, ...] | None = None
    """Names of folders; None: all that are there."""
    quality_scales: tuple[int, ...] = (2, 3, 4)
    quality_unshipped: bool = True
    """Whether our checkpoints that do not come with the package are measured too."""
    quality_foreign: bool = True
    """Whether weights of others are measured too, and not our models alone."""
    quality_side: int | None = None
    """Height and width of the part of each picture that counts, LR pixels; None: all of it."""
    quality_pictures: int | None = None
    """Of each set; None: all."""
    quality_peer_sets: tuple[str, ...] = ("Set5",)
    """Where what people use today is measured too: their pixels do not depend on the set, and most are slow."""
    quality_form_sets: tuple[str, ...] = ("Set5",)
    """Where all forms of ours are measured; elsewhere those that compute something else, but no self-ensemble."""
    seams_halos: tuple[int, ...] = (0, 8, 16)
    """Beside the exact one; LR pixels."""
    seams_core: int = 32
    """LR pixels that a tile keeps at least, whatever its halo: as many seams everywhere."""
    encode_side: int = 2048
    """Side of the picture that is encoded, HR pixels."""
    scaling_megapixels: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)
    """LR."""
    scaling_tiles: tuple[int, ...] = (64, 96, 128, 256, 512, 1024, 2048)
    """Sides, LR pixels, on a picture of the largest of them squared."""
    scaling_batches: tuple[int, ...] = (1, 2, 4, 8, 16)
    scaling_threads: tuple[int, ...] = (1, 2)
    scaling_in_flight: tuple[int, ...] = (1, 2, 4, 8)
    scaling_side: int = 256
    """Of the pictures of batches, threads and in flight; LR pixels."""
    scaling_repeats: int = 5
    """Of short work, in one process."""
    scaling_processes: int = 3
    """For short work; that in the middle counts."""
    startup_runs: int = 10
    startup_side: int = 256
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
    claims_updates: int = 2000
    """Of each training run."""
    claims_validate_every: int = 250
    claims_batch: int = 16
    claims_patch: int = 32
    """Side of what is trained on, LR pixels."""
    claims_memory_scales: tuple[int, ...] = (2, 4)
    claims_memory_patch: int = 48
    """Side where memory is counted, LR pixels: the paper's."""
    field_updates: int = 1000
    """Of each network of the field."""
    field_validate_every: int = 250
    field_batch: int = 16
    field_patch: int = 24
    """Side of what they are trained on, LR pixels."""
    field_effort: Effort = _FIELD
    """Of their run time."""
    field_sides: tuple[int, ...] = (256, 512, 1024)
    """Height and width of the results that are timed, HR pixels: those of the slides."""
    quick: bool = False
    """See ``quick_settings``."""
    smoke: bool = False
    """The numbers mean nothing; see ``smoke_settings``."""

    def leaves_out(self, peer: str) -> bool:
        """Whether one that is measured beside ours was not asked for."""
        return self.peers is not None and peer not in self.peers

    @property
    def why_no_target(self) -> str:
        """The reason why no target applies, or nothing."""
        return "smoke run" if self.smoke else ""


def with_rounds(settings: Settings, rounds: int) -> Settings:
    """Every timing repeated so many times."""
    return replace(
        settings,
        latency_effort=replace(settings.latency_effort, rounds=rounds),
        offline_effort=replace(settings.offline_effort, rounds=rounds),
        field_effort=replace(settings.field_effort, rounds=rounds),
        ceiling_rounds=rounds,
        ring_rounds=rounds,
        encode_rounds=rounds,
        loader_rounds=rounds,
        scaling_repeats=rounds,
        startup_runs=rounds,
    )


def quick_settings() -> Settings:
    """Smaller pictures, fewer rounds, one scale: meant to take three minutes on two quiet cores."""
    return Settings(
        scales=(4,),
        cost_all=False,
        cost_scales=(4,),
        lr_hw=(96, 128),
        latency_effort=Effort(rounds=4, least_seconds=0.2, warm_up=1),
        latency_tile=112,
        slow_peers=False,
        ceiling_matrix=1024,
        ceiling_rounds=3,
        offline_effort=Effort(rounds=3, warm_up=0),
        offline_pictures=2,
        offline_scale=4,
        quality_sets=("Set5",),
        quality_scales=(4,),
        quality_unshipped=False,
        quality_foreign=False,
        scaling_megapixels=(0.05, 0.1, 0.25),
        scaling_tiles=(64, 128, 256),
        scaling_batches=(1, 4),
        scaling_in_flight=(1, 2, 4),
        scaling_side=96,
        scaling_repeats=2,
        scaling_processes=1,
        startup_runs=3,
        quick=True,
    )


def smoke_settings(rounds: int = 2) -> Settings:
    """Everything runs once, on tiny networks and pictures: shows that the benchmark works, not how fast anything is."""
    return with_rounds(
        Settings(
            scales=(4,),
            cost_all=False,
            lr_hw=(24, 32),
            n_resblocks=1,
            n_feats=8,
            latency_effort=Effort(rounds, warm_up=1),
            latency_tile=16,
            slow_peers=False,
            ceiling_matrix=64,
            ceiling_convolutions=((8, (12, 16)),),
            ceiling_copied_bytes=1 << 20,
            offline_effort=Effort(rounds, warm_up=0),
            offline_pictures=2,
            warm_up=1,
            quality_sets=("Set5",),
            quality_unshipped=False,
            quality_side=48,
            quality_pictures=2,
            quality_peer_sets=(),
            seams_core=8,
            encode_side=128,
            scaling_megapixels=(0.002, 0.004),
            scaling_tiles=(32, 64),
            scaling_batches=(1, 2),
            scaling_threads=(1,),
            scaling_in_flight=(1, 2),
            scaling_side=24,
            startup_side=32,
            memory_side=400,
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
            field_updates=4,
            field_validate_every=2,
            field_batch=2,
            field_patch=8,
            field_effort=Effort(rounds, warm_up=1),
            field_sides=(32, 48),
            smoke=True,
        ),
        rounds,
    )
