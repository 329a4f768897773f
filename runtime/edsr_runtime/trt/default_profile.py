"""The profile of an engine where nobody says how large and how many its tiles are."""

from edsr_runtime.contract import Contract
from edsr_runtime.trt.memory import MAX_ELEMENTS, TILE_STEP, predict
from edsr_runtime.trt.profile import Profile, Size, tile_profile

TILE, BATCH = 256, 8
_HALOS = 4  # sides of a tile, at least: half of each side is core then, and a quarter of what is computed is kept


def default_profile(contract: Contract, tile: int | None = None, batch: int | None = None) -> Profile:
    """``tile_profile`` with what is usual where nothing is said.

    A tile of ``default_tile``; eight at once, for the self-ensemble, or one where the model averages its eight views
    itself; half as many, and again, while a tensor would have too many elements.

    Raises:
        ShapeError: there can be no such profile.
    """
    side = tile or default_tile(contract.receptive_radius)
    at_once = batch or (1 if contract.self_ensemble else BATCH)
    while batch is None and at_once > 1 and _too_many_elements(contract, Size(at_once, side, side)):
        at_once //= 2
    return tile_profile(side, at_once, contract)


def default_tile(halo: int) -> int:
    """Side of a tile in LR pixels: 256, or four times the halo where that is more, so that a useful core is left.

    The halo is the receptive radius: EDSR-baseline has one of 36 pixels and tiles of 256, the full EDSR 68 and 272,
    MDSR 172 and 688.
    """
    return max(TILE, -(-_HALOS * halo // TILE_STEP) * TILE_STEP)


def nothing_but_halo(contract: Contract, profile: Profile) -> str:
    """A sentence if tiles of the largest size have no core; pictures that fit in whole are none the worse for it."""
    height, width = profile.max.height, profile.max.width
    halo = contract.receptive_radius
    if min(height, width) > 2 * halo:
        return ""
    return (
        f"the engine is for pictures of up to {height}x{width} (HxW) only: tiles, into which larger ones would be cut, "
        f"need a halo of {halo} LR pixels on each side; with --tile {default_tile(halo)} it is for all"
    )


def _too_many_elements(contract: Contract, size: Size) -> bool:
    return predict(contract, size).largest_tensor >= MAX_ELEMENTS
