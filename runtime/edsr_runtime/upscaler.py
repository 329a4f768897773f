"""Upscale arrays with an exported model: tiles without seams, any bit depth, memory bounded by the tile."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from edsr_runtime import tiling
from edsr_runtime.backends.base import Backend, NonFiniteError, Precision
from edsr_runtime.backends.choose import PRECISIONS, choose, open_backend
from edsr_runtime.contract import read_contract
from edsr_runtime.cpu import available_memory
from edsr_runtime.dihedral import VIEWS, View
from edsr_runtime.errors import EdsrError, NumericalError, ShapeError

Pixels = NDArray[Any]
"""(H, W, C): uint8, uint16, or float of 0..1."""

_ACTIVATION_COPIES = 6  # FP32 feature maps held at a time: 5.8 measured with onnxruntime, 4.7 with OpenVINO
_MEMORY_SHARE = 0.25  # of what is available, for one tile
_LARGEST_TILE_BYTES = 1 << 30


class Upscaler:
    """A model, ready to run. Use as a context manager, from any number of threads."""

    def __init__(
        self,
        model: str | Path,
        backend: str = "auto",
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        tile: int | Literal["auto"] = "auto",
        halo: int | None = None,
        self_ensemble: bool = False,
        threads: int | None = None,
    ) -> None:
        """Load a model.

        Args:
            model: ONNX file written by edsr-export.
            backend: ``auto``, ``openvino`` or ``onnxruntime``.
            precision: ``auto`` is BF16 for 8-bit pictures where the backend and the CPU compute in it, else FP32.
            tile: largest side of a tile with its halo, LR pixels; ``auto`` goes by memory.
            halo: LR pixels around a tile's core; default: the receptive radius, with which tiles have no seams.
            self_ensemble: average the eight flips and rotations (eight times the work, about +0.1 dB).
            threads: CPU threads; default: all cores.

        Raises:
            EdsrError: the file cannot be used, or the machine cannot do what is asked.
        """
        self._path = Path(model)
        self.contract = read_contract(self._path)
        self.scale = self.contract.scale
        if self_ensemble and self.contract.self_ensemble:
            raise EdsrError(f"{self._path}: averages the eight views itself; leave out the self-ensemble option")
        if self.contract.io != "float":
            raise EdsrError(
                f"{self._path}: takes and gives uint8, which is for TensorRT engines and cannot show NaN. "
                "Export it with --io float"
            )
        if tile != "auto" and (not isinstance(tile, int) or tile < 1):
            raise EdsrError(f"tile is {tile!r}, expected auto or a number of LR pixels")
        if precision not in PRECISIONS:
            raise EdsrError(
                f"unknown precision {precision!r}: expected {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}"
            )
        if threads is not None and threads < 1:
            raise EdsrError(f"threads is {threads}, expected 1 or more")
        if halo is not None and halo < 0:
            raise EdsrError(f"halo is {halo}, expected 0 or more LR pixels")
        self._self_ensemble = self_ensemble
        self._tile: int | Literal["auto"] = tile
        self._halo = self.contract.receptive_radius if halo is None else halo
        if tile != "auto" and tile <= 2 * self._halo:
            raise EdsrError(
                f"tile {tile} leaves nothing after a halo of {self._halo} on both sides: "
                f"use a tile of at least {2 * self._halo + 1}, or auto"
            )
        self._threads = threads
        self._precision: Precision | None = None if precision == "auto" else precision
        self._lock = threading.Lock()
        choice = choose(backend)
        self._backend_name = choice.name
        self._backend = open_backend(choice.name, self._path, self.contract, self._precision, threads)
        self._exact: Backend | None = None
        self._closed = False
        self.description = (
            f"{self._path.stem}: {choice.name} ({choice.reason}), {self._backend.precision} on {self._backend.device}"
        )
        if self._precision is None and self._backend.precision == "bf16":
            self.description += "; fp32 for 16-bit pictures"

    def plan(self, height: int, width: int) -> tiling.Plan:
        """How a picture of this size, LR pixels, is cut into tiles.

        Raises:
            ShapeError: the picture is smaller than the model takes, or the tile than its halo.
        """
        if min(height, width) < self.contract.min_side:
            raise ShapeError(
                f"the picture is {height}x{width} (HxW), expected at least {self.contract.min_side} pixels a side"
                + (", or a model exported with --no-collapse" if self.contract.min_side > 1 else "")
            )
        tile = self._automatic_tile() if self._tile == "auto" else self._tile
        return tiling.plan(height, width, tile, self._halo, self.contract.min_side)

    def upscale(self, image: Pixels) -> Pixels:
        """Upscale one picture.

        Args:
            image: (H, W, 3) RGB, (H, W, 1) or (H, W) gray; uint8, uint16, or floating point of 0..1.

        Returns:
            The same type and layout, (scale*H, scale*W); integers rounded half to even and clamped, floating point as
            float32, not clamped.

        Raises:
            ShapeError: another layout or type, or too small.
            NumericalError: the network gives NaN or infinity, in FP32 too.
            ValueError: the upscaler was closed.
        """
        image = np.asarray(image)
        planar = image[:, :, None] if image.ndim == 2 else image
        rows = list(self.bands(planar))
        result = rows[0] if len(rows) == 1 else np.concatenate(rows)
        return result[:, :, 0] if image.ndim == 2 else result

    def bands(self, pixels: Pixels, alpha: Pixels | None = None) -> Iterator[Pixels]:
        """Upscale one picture, giving finished rows from top to bottom.

        Args:
            pixels: (H, W, 3) or (H, W, 1), as in ``upscale``; straight, not premultiplied.
            alpha: (H, W) of the same type, or None.

        Yields:
            (h, scale*W, C), or (h, scale*W, C + 1) with alpha as last channel.
        """
        self._check_layout(pixels, alpha)
        plan = self.plan(*pixels.shape[:2])
        peak = _peak(pixels)
        opaque = alpha is None or bool((alpha == peak).all())
        for row in plan.rows:
            height = (row.core_stop - row.core_start) * self.scale
            channels = pixels.shape[2] + (alpha is not None)
            band = np.empty((height, pixels.shape[1] * self.scale, channels), _result_type(pixels))
            if alpha is not None and opaque:
                band[:, :, -1] = peak
            for column in plan.columns:
                if self._closed:
                    raise ValueError(f"{self._path.stem}: this upscaler is closed")
                where = np.s_[row.start : row.stop, column.start : column.stop]
                target = band[:, column.core_start * self.scale : column.core_stop * self.scale]
                kept = tuple(slice(s.kept.start * self.scale, s.kept.stop * self.scale) for s in (row, column))
                if alpha is None or opaque:
                    target[:, :, : pixels.shape[2]] = self._tile_of(pixels[where])[kept]
                else:
                    target[:] = self._translucent_tile(pixels[where], alpha[where], peak)[kept]
            yield band

    def close(self) -> None:
        """Give back the model's memory; nothing can be upscaled after that."""
        with self._lock:
            self._closed = True
            for backend in (self._backend, self._exact):
                if backend is not None:
                    backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_layout(self, pixels: Pixels, alpha: Pixels | None) -> None:
        kinds = pixels.dtype in (np.uint8, np.uint16) or np.issubdtype(pixels.dtype, np.floating)
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not kinds:
            raise ShapeError(
                f"expected (H, W, 3) RGB or (H, W) gray of uint8, uint16 or floating point, got {pixels.shape} "
                f"{pixels.dtype}"
            )
        if alpha is not None and (alpha.shape != pixels.shape[:2] or alpha.dtype != pixels.dtype):
            raise ShapeError(
                f"alpha is {alpha.shape} {alpha.dtype}, expected {pixels.shape[:2]} {pixels.dtype} as the picture"
            )

    def _tile_of(self, lr: Pixels) -> Pixels:
        """(h, w, C) -> (scale*h, scale*w, C) of the same type."""
        rgb = lr if lr.shape[2] == 3 else np.repeat(lr, 3, axis=2)
        if lr.dtype == np.uint8 and not self._self_ensemble and lr.shape[2] == 3:
            return self._uint8(rgb)
        sr = self._float(rgb.astype(np.float32) * np.float32(255 / _peak(lr)), deep=lr.dtype != np.uint8)
        return _from_float(sr if lr.shape[2] == 3 else sr.mean(axis=2, keepdims=True), lr)

    def _translucent_tile(self, lr: Pixels, alpha: Pixels, peak: float) -> Pixels:
        """Colours are upscaled premultiplied, alpha as a gray picture; both with the same network, so edges agree."""
        opacity: NDArray[np.float32] = alpha[:, :, None].astype(np.float32) / np.float32(peak)
        colour = np.broadcast_to(lr, (*alpha.shape, 3)).astype(np.float32) * np.float32(255 / peak)
        deep = lr.dtype != np.uint8
        sr_alpha = self._float(np.repeat(opacity * 255, 3, axis=2), deep).mean(axis=2, keepdims=True).clip(0, 255)
        sr_colour = self._float(colour * opacity, deep)
        straight = np.divide(sr_colour * 255, sr_alpha, out=np.zeros_like(sr_colour), where=sr_alpha >= 0.5)
        if lr.shape[2] == 1:
            straight = straight.mean(axis=2, keepdims=True)
        return _from_float(np.concatenate([straight, sr_alpha], axis=2), lr)

    def _uint8(self, rgb: Pixels) -> Pixels:
        try:
            return np.squeeze(self._backend.run_uint8(rgb[None]), axis=0)
        except NonFiniteError:
            pass
        try:
            return np.squeeze(self._exact_backend().run_uint8(rgb[None]), axis=0)
        except NonFiniteError as err:
            raise self._not_finite() from err

    def _float(self, rgb: NDArray[np.float32], deep: bool) -> NDArray[np.float32]:
        """(h, w, 3) of 0..255 -> (scale*h, scale*w, 3) of 0..255, not clamped; ``deep``: BF16 is not enough."""
        lr = rgb.transpose(2, 0, 1)[None]
        backend = self._exact_backend() if deep and self._precision is None else self._backend
        try:
            sr = self._ensemble(backend, lr)
        except NonFiniteError:
            try:
                sr = self._ensemble(self._exact_backend(), lr)
            except NonFiniteError as err:
                raise self._not_finite() from err
        return np.squeeze(sr, axis=0).transpose(1, 2, 0)

    def _ensemble(self, backend: Backend, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self._self_ensemble:
            return backend.run_float(lr)
        total = backend.run_float(lr)
        for view in VIEWS[1:]:
            total += _unview(backend.run_float(_view(lr, view)), view)
        return total / np.float32(len(VIEWS))

    def _exact_backend(self) -> Backend:
        """The same model in the highest precision that the backend has, loaded when first needed."""
        with self._lock:
            if self._exact is None:
                wanted: Precision = "fp32" if self._backend_name == "openvino" else self.contract.precision
                same = self._backend.precision == wanted
                self._exact = (
                    self._backend
                    if same
                    else open_backend(self._backend_name, self._path, self.contract, wanted, self._threads)
                )
            return self._exact

    def _not_finite(self) -> NumericalError:
        precision = self._exact_backend().precision.upper()
        return NumericalError(f"{self._path.stem} gives NaN or infinity for this picture, in {precision} too")

    def _automatic_tile(self) -> int:
        """The largest square tile whose activations fit the budget."""
        budget = float(_LARGEST_TILE_BYTES)
        available = available_memory()
        if available is not None:
            budget = min(budget, available * _MEMORY_SHARE)
        floats_per_pixel = _ACTIVATION_COPIES * self.contract.n_feats + 4 * 3 * self.scale**2
        side = int((budget / (4 * floats_per_pixel)) ** 0.5)
        return max(side, 3 * self._halo, 64)


def _peak(pixels: Pixels) -> float:
    return float(np.iinfo(pixels.dtype).max) if np.issubdtype(pixels.dtype, np.integer) else 1.0


def _result_type(pixels: Pixels) -> np.dtype[Any]:
    return pixels.dtype if np.issubdtype(pixels.dtype, np.integer) else np.dtype(np.float32)


def _from_float(sr: NDArray[np.float32], like: Pixels) -> Pixels:
    """0..255 -> the range and type of ``like``."""
    scaled = sr * np.float32(_peak(like) / 255)
    if np.issubdtype(like.dtype, np.integer):
        scaled = np.rint(scaled.clip(0, _peak(like)))
    return scaled.astype(_result_type(like))


def _view(x: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    return _flip(x.swapaxes(2, 3) if view.transpose else x, view)


def _unview(x: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    flipped = _flip(x, view)
    return flipped.swapaxes(2, 3) if view.transpose else flipped


def _flip(x: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    return x[:, :, :: -1 if view.flip_rows else 1, :: -1 if view.flip_columns else 1]
