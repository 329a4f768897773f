"""Training pairs: pictures are read whole or refused, and patches of LR and HR show the same place."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edsr_runtime.errors import DataError
from edsr_runtime.resize import imresize
from edsr_train.data import Pair, PatchSampler, fingerprint, load_pairs, make_pair, picture_files, read_rgb

Pixels = NDArray[np.uint8]


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(pixels: NDArray[np.generic], file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return file


def addressed_pair(height: int, width: int, scale: int) -> Pair:
    """Every LR pixel holds its row and column, every HR pixel those of its LR pixel and its place within that."""
    row, column = np.indices((height * scale, width * scale))
    hr = np.stack([row // scale, column // scale, row % scale * scale + column % scale], axis=-1).astype(np.uint8)
    return Pair("addressed", hr[::scale, ::scale].copy(), hr)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_patches_of_lr_and_hr_show_the_same_place_in_the_same_orientation(scale: int) -> None:
    sampler = PatchSampler([addressed_pair(9, 12, scale)], scale, 5, np.random.default_rng(0))
    lr, hr = (batch.numpy() for batch in sampler.batch(300))
    assert (lr.shape, hr.shape) == ((300, 3, 5, 5), (300, 3, 5 * scale, 5 * scale))
    np.testing.assert_array_equal(hr[:, :2], lr[:, :2].repeat(scale, axis=2).repeat(scale, axis=3))

    orientations, corners = set(), set()
    for small, large in zip(lr, hr, strict=True):
        # How row and column of the original change along the patch's axes, in LR pixels and within one.
        steps = [(p[1, 0] - p[0, 0], p[0, 1] - p[0, 0]) for p in small[:2].astype(int)]
        within = np.divmod(large[2, :scale, :scale].astype(int), scale)
        assert steps == [(p[1, 0] - p[0, 0], p[0, 1] - p[0, 0]) for p in within]
        orientations.add(tuple(steps))
        corners.add((int(small[0].min()), int(small[1].min())))
    assert len(orientations) == 8
    assert corners == {(top, left) for top in range(5) for left in range(8)}


def test_lr_patches_come_from_the_bicubic_version_of_the_photograph() -> None:
    hr = noise(23, 31)
    pair = make_pair(hr, 2, "odd")
    np.testing.assert_array_equal(pair.hr, hr[:22, :30])
    np.testing.assert_array_equal(pair.lr, imresize(hr[:22, :30], 0.5))
    lr, _ = PatchSampler([pair], 2, 11, np.random.default_rng(3)).batch(40)
    # A patch as high as the picture: turned back, it must be a run of the picture's columns.
    columns = {pair.lr[:, left : left + 11].tobytes() for left in range(5)}
    for patch in lr.numpy().astype(np.uint8).transpose(0, 2, 3, 1):
        turned = [np.rot90(view, k) for view in (patch, patch[:, ::-1]) for k in range(4)]
        assert any(np.ascontiguousarray(view).tobytes() in columns for view in turned)


def test_pictures_are_drawn_by_area() -> None:
    small, large = (np.full((side, side, 3), value, np.uint8) for side, value in ((8, 1), (24, 2)))
    pairs = [
        Pair("small", small, small.repeat(2, 0).repeat(2, 1)),
        Pair("large", large, large.repeat(2, 0).repeat(2, 1)),
    ]
    lr, _ = PatchSampler(pairs, 2, 4, np.random.default_rng(0)).batch(4000)
    share = float((lr[:, 0, 0, 0] == 1).float().mean())
    assert share == pytest.approx(0.1, abs=0.015)  # 64 of 640 pixels; three standard deviations of 4000 draws


def test_a_seed_decides_all_patches() -> None:
    pairs = [make_pair(noise(40, 40, seed), 2) for seed in range(3)]

    def three_batches(seed: int) -> bytes:
        sampler = PatchSampler(pairs, 2, 8, np.random.default_rng(seed))
        return b"".join(t.numpy().tobytes() for _ in range(3) for t in sampler.batch(2))

    assert three_batches(7) == three_batches(7)
    assert three_batches(7) != three_batches(8)


def test_files_come_folder_by_folder_sorted_and_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "b/sub/1.jpg", "b/._2.png", "b/notes.txt", "a/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files = picture_files([tmp_path / "b", tmp_path / "a"])
    assert [file.relative_to(tmp_path).as_posix() for file in files] == ["b/2.PNG", "b/sub/1.jpg", "a/3.png"]


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_pictures_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=f"{name}: expected a folder with pictures .*found none"):
        picture_files([tmp_path / name])


def test_gray_and_opaque_alpha_become_plain_rgb(tmp_path: Path) -> None:
    rgb = noise(3, 4)
    gray = read_rgb(save(rgb[..., 0], tmp_path / "gray.png"))
    np.testing.assert_array_equal(gray, np.stack([rgb[..., 0]] * 3, axis=-1))
    opaque = np.dstack([rgb, np.full((3, 4), 255, np.uint8)])
    np.testing.assert_array_equal(read_rgb(save(opaque, tmp_path / "rgba.png")), rgb)


def test_transparent_and_16_bit_pictures_are_refused(tmp_path: Path) -> None:
    transparent = np.dstack([noise(3, 4), np.full((3, 4), 254, np.uint8)])
    with pytest.raises(DataError, match=r"rgba\.png: is partly transparent"):
        read_rgb(save(transparent, tmp_path / "rgba.png"))
    with pytest.raises(DataError, match=r"deep\.png: has 16 bits per sample, expected 8"):
        read_rgb(save(np.full((3, 4), 999, np.uint16), tmp_path / "deep.png"))


def test_all_unusable_pictures_are_listed_at_once(tmp_path: Path) -> None:
    save(noise(16, 16), tmp_path / "good.png")
    whole = save(noise(16, 16), tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    with pytest.raises(DataError, match=r"(?s)2 of the training pictures cannot be used:.*cut\.png.*page\.jpg"):
        load_pairs([tmp_path], 2, 4)


def test_pictures_smaller_than_a_patch_are_left_out(tmp_path: Path) -> None:
    save(noise(15, 40), tmp_path / "low.png")
    save(noise(17, 40), tmp_path / "fits.png")
    pairs = load_pairs([tmp_path], 2, 8)
    assert [(pair.name, pair.lr.shape, pair.hr.shape) for pair in pairs] == [("fits", (8, 20, 3), (16, 40, 3))]
    with pytest.raises(DataError, match="no training picture has both sides of at least 18 pixels"):
        load_pairs([tmp_path], 2, 9)


def test_a_fingerprint_changes_with_contents_names_and_order() -> None:
    a, b = make_pair(noise(8, 8, 1), 2, "a"), make_pair(noise(8, 8, 2), 2, "b")
    renamed = Pair("c", a.lr, a.hr)
    variants = [[a, b], [b, a], [a], [renamed, b], [make_pair(noise(8, 8, 3), 2, "a"), b]]
    assert len({fingerprint(pairs) for pairs in variants}) == len(variants)
    assert fingerprint([a, b]) == fingerprint([Pair("a", a.lr.copy(), a.hr.copy()), b])
