"""How large tiles are where nobody says: what their activations take, against the memory there is."""

from edsr_runtime.contract import Contract

LEAST_HALOS = 3
"""Sides of a tile, at least, if nobody asks for another: a ninth of what is computed is kept then."""
_ACTIVATION_COPIES = 6  # FP32 feature maps held at a time: 5.8 measured with onnxruntime, 4.7 with OpenVINO
_MEMORY_SHARE = 0.25  # of what is available, for one tile
_LAST_SHARE = 0.5  # the same, for a tile that was chosen when more was available
_LARGEST_TILE_BYTES = 1 << 30
_LEAST_SIDE = 64


def automatic_tile(contract: Contract, halo: int, available: int | None) -> int:
    """The largest square tile whose activations fit.

    Args:
        contract: of the model.
        halo: LR pixels.
        available: bytes of memory; None where the system does not tell.

    Returns:
        Its side, LR pixels: the same wherever 4 GiB or more are available.
    """
    budget = float(_LARGEST_TILE_BYTES)
    if available is not None:
        budget = min(budget, available * _MEMORY_SHARE)
    side = int((budget / _bytes_per_pixel(contract)) ** 0.5)
    return max(side, LEAST_HALOS * halo, _LEAST_SIDE)


def has_room(tile: int, contract: Contract, available: int | None) -> bool:
    """Whether a tile that was chosen earlier may be kept: what is available goes up and down all the time, and the
    last bit of a result may depend on the tile."""
    return available is None or tile**2 * _bytes_per_pixel(contract) <= available * _LAST_SHARE


def _bytes_per_pixel(contract: Contract) -> int:
    return 4 * (_ACTIVATION_COPIES * contract.widest + 4 * 3 * contract.scale**2)
