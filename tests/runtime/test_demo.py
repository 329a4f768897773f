"""The demo: a photograph that may be shipped, a result that is what it says."""

from pathlib import Path

import click.testing
import numpy as np
import pytest
from numpy.typing import NDArray

from edsr_runtime import demo, zoo
from edsr_runtime.metrics import psnr_y
from edsr_runtime.pictures.read import read_picture
from edsr_runtime.resize import imresize
from edsr_runtime.upscaler import Upscaler


class Nearest:
    """In place of an upscaler: no export, no engine; what the shipped model does is looked at below."""

    description = "nearest: chosen for the test"

    def __init__(self, model: Path) -> None:
        pass

    def __enter__(self) -> "Nearest":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def upscale(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return image.repeat(demo.SCALE, axis=0).repeat(demo.SCALE, axis=1)


def test_small_photograph_is_the_original_made_small() -> None:
    hr = read_picture(demo.HR_PHOTOGRAPH).pixels
    np.testing.assert_array_equal(read_picture(demo.LR_PHOTOGRAPH).pixels, imresize(hr, 1 / demo.SCALE))


def test_photographs_have_a_note_on_their_licence_and_stay_small() -> None:
    folder = demo.LR_PHOTOGRAPH.parent
    note = (folder / "README.md").read_text()
    pictures = [path for path in folder.iterdir() if path.suffix != ".md"]
    assert {demo.HR_PHOTOGRAPH, demo.LR_PHOTOGRAPH} == set(pictures)
    assert all(f"`{path.name}`" in note for path in pictures)
    assert "Licence: CC0" in note
    assert sum(path.stat().st_size for path in pictures) < 600_000


def test_demo_writes_the_result_and_the_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "Upscaler", Nearest)
    folder = tmp_path / "new" / "out"
    lines = demo.run(Path("models/nearest_x4.onnx"), folder)
    lr, hr = (read_picture(path).pixels for path in (demo.LR_PHOTOGRAPH, demo.HR_PHOTOGRAPH))
    ours, bicubic = Nearest(Path()).upscale(lr), imresize(lr, 4)
    np.testing.assert_array_equal(read_picture(folder / "photo_x4.png").pixels, ours)
    assert sorted(path.name for path in folder.iterdir()) == ["photo_x4.png", "side_by_side.png"]
    assert lines[0] == Nearest.description
    assert lines[1].startswith("100x150 -> 400x600 (HxW) in ")
    assert lines[2].startswith(f"{folder}/photo_x4.png: ") and lines[3].startswith(f"{folder}/side_by_side.png: ")
    assert lines[4].endswith(f"bicubic {psnr_y(bicubic, hr, 4):.2f} dB, ours {psnr_y(ours, hr, 4):.2f} dB")

    shown = read_picture(folder / "side_by_side.png").pixels
    height, width = (4 * length for length in bicubic[demo.DETAIL].shape[:2])
    assert (height, width) == (760, 680)
    np.testing.assert_array_equal(shown[-height::4, :width:4], bicubic[demo.DETAIL])
    np.testing.assert_array_equal(shown[-height::4, -width::4], ours[demo.DETAIL])
    for label in (shown[:-height, :width], shown[:-height, -width:]):
        assert label.min() < 30 and label.max() > 200  # dark, with something written on it


def test_demo_without_the_model_ends_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "shipped_models", lambda precision: [])
    result = click.testing.CliRunner().invoke(demo.main, [], catch_exceptions=False)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: no model edsr-small x4 comes with the package (there are: none).")


@pytest.mark.skipif(not zoo.shipped_models(), reason="the model is not there yet")
def test_shipped_model_is_better_than_bicubic_on_the_photograph() -> None:
    lr, hr = (read_picture(path).pixels for path in (demo.LR_PHOTOGRAPH, demo.HR_PHOTOGRAPH))
    with Upscaler(zoo.model_path(zoo.DEFAULT_NAME, demo.SCALE)) as upscaler:
        assert psnr_y(upscaler.upscale(lr), hr, 4) > psnr_y(imresize(lr, 4), hr, 4) + 0.8
