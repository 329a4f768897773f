"""JPEG and WebP files: rows collected, encoded by Pillow when all of them are there."""

from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, JpegImagePlugin, WebPImagePlugin  # noqa: F401  (the plugins register their encoders)

from edsr_runtime.errors import PictureError
from edsr_runtime.pictures.picture import PictureMetadata, Samples
from edsr_runtime.pictures.row_writer import RowLayout, RowWriter

JPEG_MAX_SIDE = 65_500
"""libjpeg's own limit, a little below the 65,535 of the format."""
WEBP_MAX_SIDE = 16_383
_MAX_MARKER_BYTES = 65_533 - 64
"""Room for one JPEG marker segment, less what EXIF and XMP put before their data."""


class _CollectingWriter(RowWriter):
    def __init__(self, path: Path, layout: RowLayout, metadata: PictureMetadata, notes: tuple[str, ...] = ()) -> None:
        super().__init__(path, layout, metadata, notes)
        self._samples: Samples | None = None

    def _begin(self, file: BinaryIO) -> None:
        layout = self.layout
        self._samples = np.empty((layout.height, layout.width, layout.samples_per_pixel), layout.dtype)

    def _write(self, file: BinaryIO, rows: Samples) -> None:
        assert self._samples is not None
        self._samples[self._rows_written : self._rows_written + len(rows)] = rows

    def _image(self) -> Image.Image:
        assert self._samples is not None
        samples, self._samples = self._samples, None
        return Image.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)


class JpegWriter(_CollectingWriter):
    """Baseline, 4:4:4; gray stays gray. No alpha, no 16 bits."""

    def __init__(self, path: Path, layout: RowLayout, metadata: PictureMetadata, quality: int) -> None:
        if max(layout.height, layout.width) > JPEG_MAX_SIDE:
            raise PictureError(
                f"{path}: {layout.height}x{layout.width} is too large for JPEG, which holds {JPEG_MAX_SIDE:,} pixels "
                "per side; use -f png or -f tiff"
            )
        if layout.has_alpha:
            raise PictureError(f"{path}: JPEG holds no transparency; use -f png or -f webp")
        if layout.dtype != np.uint8:
            raise PictureError(f"{path}: JPEG holds 8 bits and the picture has 16; use -f png or -f tiff")
        notes = []
        if metadata.exif is not None and len(metadata.exif) > _MAX_MARKER_BYTES:
            notes.append(f"EXIF data of {len(metadata.exif):,} bytes left out: JPEG holds less")
            metadata = replace(metadata, exif=None)
        if metadata.xmp is not None and len(metadata.xmp) > _MAX_MARKER_BYTES:
            notes.append(f"XMP data of {len(metadata.xmp):,} bytes left out: JPEG holds less")
            metadata = replace(metadata, xmp=None)
        super().__init__(path, layout, metadata, tuple(notes))
        self._quality = quality

    def _finish(self, file: BinaryIO) -> None:
        metadata = self.metadata
        options: dict[str, Any] = {}
        if metadata.exif is not None:
            options["exif"] = b"Exif\0\0" + metadata.exif
        if metadata.xmp is not None:
            options["xmp"] = metadata.xmp
        if metadata.dpi is not None:
            options["dpi"] = tuple(min(max(round(value), 1), 65_535) for value in metadata.dpi)
        comment = dict(metadata.text).get("Comment")
        if comment:
            options["comment"] = comment.encode("utf-8", "replace")[:_MAX_MARKER_BYTES]
        self._image().save(file, "JPEG", quality=self._quality, subsampling=0, icc_profile=metadata.icc, **options)


class WebpWriter(_CollectingWriter):
    """RGB or RGBA (gray is stored as RGB). No 16 bits, no resolution, no text."""

    def __init__(self, path: Path, layout: RowLayout, metadata: PictureMetadata, quality: int, lossless: bool) -> None:
        if max(layout.height, layout.width) > WEBP_MAX_SIDE:
            raise PictureError(
                f"{path}: {layout.height}x{layout.width} is too large for WebP, which holds {WEBP_MAX_SIDE:,} pixels "
                "per side; use -f png or -f tiff"
            )
        if layout.dtype != np.uint8:
            raise PictureError(f"{path}: WebP holds 8 bits and the picture has 16; use -f png or -f tiff")
        super().__init__(path, layout, metadata)
        self._quality = quality
        self._lossless = lossless

    def _finish(self, file: BinaryIO) -> None:
        metadata = self.metadata
        image = self._image()
        if image.mode in ("L", "LA"):
            image = image.convert("RGB" if image.mode == "L" else "RGBA")
        # for lossless, quality is effort, not fidelity
        quality, method = (20, 1) if self._lossless else (self._quality, 2)
        image.save(
            file,
            "WEBP",
            quality=quality,
            method=method,
            lossless=self._lossless,
            exact=self._lossless,
            icc_profile=metadata.icc or b"",
            exif=b"Exif\0\0" + metadata.exif if metadata.exif is not None else b"",
            xmp=metadata.xmp or b"",
        )
