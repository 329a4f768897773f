"""PSNR and SSIM that were published: under ``paper-y`` on whole sets, under ``paper-div2k`` on ten pictures of DIV2K.

Source: Lim et al., arXiv:1707.02921, tables 2 and 3 (EDSR, MDSR and what they were compared with) and, for
EDSR-baseline under ``paper-y``, the README of EDSR-PyTorch; LESRCNN: Tian et al., Knowledge-Based Systems 2020. All
were trained on other data than ours.
"""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """Of one method on one set at one scale."""

    psnr_db: float
    ssim: float | None
    """None where it was not published."""


_METHODS = ("bicubic", "A+", "SRCNN", "VDSR", "EDSR", "MDSR", "EDSR+", "MDSR+")

# 33.66/0.9299 is PSNR in dB and SSIM, in the order of _METHODS
_TABLE_3 = {
    ("Set5", 2): (
        "33.66/0.9299 36.54/0.9544 36.66/0.9542 37.53/0.9587 38.11/0.9601 38.11/0.9602 38.20/0.9606 38.17/0.9605"
    ),
    ("Set5", 3): (
        "30.39/0.8682 32.58/0.9088 32.75/0.9090 33.66/0.9213 34.65/0.9282 34.66/0.9280 34.76/0.9290 34.77/0.9288"
    ),
    ("Set5", 4): (
        "28.42/0.8104 30.28/0.8603 30.48/0.8628 31.35/0.8838 32.46/0.8968 32.50/0.8973 32.62/0.8984 32.60/0.8982"
    ),
    ("Set14", 2): (
        "30.24/0.8688 32.28/0.9056 32.42/0.9063 33.03/0.9124 33.92/0.9195 33.85/0.9198 34.02/0.9204 33.92/0.9203"
    ),
    ("Set14", 3): (
        "27.55/0.7742 29.13/0.8188 29.28/0.8209 29.77/0.8314 30.52/0.8462 30.44/0.8452 30.66/0.8481 30.53/0.8465"
    ),
    ("Set14", 4): (
        "26.00/0.7027 27.32/0.7491 27.49/0.7503 28.01/0.7674 28.80/0.7876 28.72/0.7857 28.94/0.7901 28.82/0.7876"
    ),
    ("B100", 2): (
        "29.56/0.8431 31.21/0.8863 31.36/0.8879 31.90/0.8960 32.32/0.9013 32.29/0.9007 32.37/0.9018 32.34/0.9014"
    ),
    ("B100", 3): (
        "27.21/0.7385 28.29/0.7835 28.41/0.7863 28.82/0.7976 29.25/0.8093 29.25/0.8091 29.32/0.8104 29.30/0.8101"
    ),
    ("B100", 4): (
        "25.96/0.6675 26.82/0.7087 26.90/0.7101 27.29/0.7251 27.71/0.7420 27.72/0.7418 27.79/0.7437 27.78/0.7425"
    ),
    ("Urban100", 2): (
        "26.88/0.8403 29.20/0.8938 29.50/0.8946 30.76/0.9140 32.93/0.9351 32.84/0.9347 33.10/0.9363 33.03/0.9362"
    ),
    ("Urban100", 3): (
        "24.46/0.7349 26.03/0.7973 26.24/0.7989 27.14/0.8279 28.80/0.8653 28.79/0.8655 29.02/0.8685 28.99/0.8683"
    ),
    ("Urban100", 4): (
        "23.14/0.6577 24.32/0.7183 24.52/0.7221 25.18/0.7524 26.64/0.8033 26.67/0.8041 26.86/0.8080 26.86/0.8082"
    ),
}

_ELSEWHERE = {
    ("Set5", 2): {"EDSR-baseline": Score(37.98, None), "LESRCNN": Score(37.65, None)},
    ("Set5", 3): {"EDSR-baseline": Score(34.37, None), "LESRCNN": Score(33.93, None)},
    ("Set5", 4): {"EDSR-baseline": Score(32.09, None), "LESRCNN": Score(31.88, None)},
}

_DIV2K_METHODS = (
    *("bicubic", "A+", "SRCNN", "VDSR"),
    *("SRResNet", "EDSR-baseline", "MDSR-baseline", "EDSR", "MDSR", "EDSR+", "MDSR+"),
)
# The first four are of table 3, the others of table 2, where SRResNet is that with L1 loss.
_DIV2K = {
    2: (
        "31.01/0.9393 32.89/0.9570 33.05/0.9581 33.66/0.9625 "
        "34.44/0.9665 34.55/0.9671 34.60/0.9673 35.03/0.9695 34.96/0.9692 35.12/0.9699 35.05/0.9696"
    ),
    3: (
        "28.22/0.8906 29.50/0.9116 29.64/0.9138 30.09/0.9208 "
        "30.85/0.9292 30.90/0.9298 30.91/0.9298 31.26/0.9340 31.25/0.9338 31.39/0.9351 31.36/0.9346"
    ),
    4: (
        "26.66/0.8521 27.70/0.8736 27.78/0.8753 28.17/0.8841 "
        "28.92/0.8961 28.94/0.8963 28.95/0.8962 29.25/0.9017 29.26/0.9016 29.38/0.9032 29.36/0.9029"
    ),
}
_OF_DIV2K = {f"{number:04}" for number in range(801, 811)}
"""The pictures that the paper took."""

RGB_SETS = "DIV2K"
"""Names that start so are measured on RGB, as in the challenges."""
FULL_SETS = {"Set5": 5, "Set14": 14, "B100": 100, "Urban100": 100}
"""How many pictures a set has: a mean over fewer of them is no number of the set."""


def published_scores(set_name: str, scale: int, pictures: Collection[str]) -> dict[str, Score]:
    """By method; empty where nothing was published.

    Args:
        set_name: one that papers use; for DIV2K, whatever starts so.
        scale: of the LR pictures.
        pictures: names of those that are measured: the whole set, or 0801 to 0810 of DIV2K.
    """
    if set_name.upper().startswith(RGB_SETS):
        return _scores(_DIV2K_METHODS, _DIV2K.get(scale) if set(pictures) == _OF_DIV2K else None)
    if FULL_SETS.get(set_name) != len(pictures):
        return {}
    return _scores(_METHODS, _TABLE_3.get((set_name, scale))) | _ELSEWHERE.get((set_name, scale), {})


def _scores(methods: tuple[str, ...], row: str | None) -> dict[str, Score]:
    pairs = [] if row is None else [text.partition("/") for text in row.split()]
    return (
        {method: Score(float(p), float(s)) for method, (p, _, s) in zip(methods, pairs, strict=True)} if pairs else {}
    )
