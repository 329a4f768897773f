"""Upscale arrays with an exported model: tiles without seams, any bit depth, memory bounded by the tile."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from edsr_runtime import tiling
from edsr_runtime.automatic_tile import LEAST_HALOS, automatic_tile, has_room
from edsr_runtime.backends.base import Backend, DeviceBackend, NonFiniteError, Precision
from edsr_runtime.backends.choose import PRECISIONS, Model, choose, exact_backend, open_backend
from edsr_runtime.backends.engines import Wish, contract_of, is_engine
from edsr_runtime.cpu import available_memory
from edsr_runtime.cuda.device import DeviceMemoryError
from edsr_runtime.dihedral import VIEWS, View
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, NumericalError, ShapeError
from edsr_runtime.trt.default_profile import default_tile
from edsr_runtime.trt.engine_file import EngineDescription, read_description

Pixels = NDArray[Any]
"""(H, W, C): uint8, uint16, or float of 0..1."""


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
        build: bool = False,
        trust_engine: bool = False,
        needs_gpu: bool = False,
        chosen_tile: int | None = None,
        note: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Load a model.

        Args:
            model: ONNX file written by edsr-export, or engine written by edsr-trt.
            backend: ``auto``, ``amx``, ``openvino``, ``onnxruntime`` or ``tensorrt``; for an engine ``auto`` or
                ``tensorrt``.
            precision: ``auto`` is BF16 for 8-bit pictures where the backend and the CPU compute in it, else FP32.
            tile: largest side of a tile with its halo, LR pixels; ``auto`` goes by memory.
            halo: LR pixels around a tile's core; default: the receptive radius, with which tiles have no seams.
            self_ensemble: average the eight flips and rotations (eight times the work, about +0.1 dB).
            threads: CPU threads; default: all cores.
            build: build an engine of the model if TensorRT is to run it and there is none.
            trust_engine: run an engine from outside the folder of those that were built here. It is code.
            needs_gpu: run on a GPU or not at all.
            chosen_tile: what ``auto`` came to when the work began, to be kept as long as there is memory for it;
                engines go by their profile.
            note: takes sentences about what has to be done otherwise than asked, from any thread.

        Raises:
            EdsrError: the file cannot be used, or the machine cannot do what is asked.
        """
        self._path = Path(model)
        self.contract = contract_of(self._path)
        self.scale = self.contract.scale
        if self_ensemble and self.contract.self_ensemble:
            raise EdsrError(f"{self._path}: averages the eight views itself; leave out the self-ensemble option")
        if self.contract.io != "float" and not is_engine(self._path):
            raise EdsrError(
                f"{self._path}: takes and gives uint8, which is for TensorRT engines and cannot show NaN. "
                "Export it with --io float"
            )
        if self.contract.io != "float" and self_ensemble:
            raise EdsrError(
                f"{self._path}: takes and gives uint8, so its views would be rounded before they are averaged. "
                "Build one from a model that was exported with --io float, or with --self-ensemble"
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
        self._chosen_tile = chosen_tile
        self._halo = self.contract.receptive_radius if halo is None else halo
        if tile != "auto" and tile <= 2 * self._halo:
            raise EdsrError(
                f"tile {tile} leaves nothing after a halo of {self._halo} on both sides: "
                f"use a tile of at least {2 * self._halo + 1}, or auto"
            )
        self._threads = threads
        self._precision: Precision | None = None if precision == "auto" else precision
        self._lock = threading.Lock()
        self._note = note
        wish = Wish(self.contract, self._precision, self_ensemble)
        choice = choose(backend, Model(self._path, wish, build, note, needs_gpu))
        self._backend_name = choice.name
        self._backend: Backend
        if choice.engine is None:
            self._backend = open_backend(choice.name, self._path, self.contract, self._precision, threads)
        else:
            from edsr_runtime.backends.trt import open_tensorrt

            self._take(read_description(choice.engine))
            self._backend = open_tensorrt(choice.engine, trust_engine, note=note)
        self._device = self._backend if isinstance(self._backend, DeviceBackend) else None
        if needs_gpu and self._device is None and not getattr(self._backend, "on_gpu", False):
            self._backend.close()
            raise EnvironmentUnfitError(f"a GPU was asked for, and {choice.name} runs on {self._backend.device}")
        self._pool: ThreadPoolExecutor | None = None
        self._fits: int | None = None  # the longest side for which the device was not too small
        if self._device is not None:
            self._pool = ThreadPoolExecutor(self._device.workers, "edsr-tile")
        self._exact: Backend | None = None
        self._closed = False
        self.description = (
            f"{self._path.stem}: {choice.name} ({choice.reason}), {self._backend.precision} on {self._backend.device}"
        )
        if self._precision is None and self._backend.precision == "bf16":
            self.description += "; fp32 for 16-bit pictures"
        if self._device is not None and self._backend.precision == "fp16" and self.contract.io == "float":
            self.description += "; 16-bit pictures too"
        if self.contract.io != "float":
            self.description += "; rounds inside, where NaN cannot be seen"

    def plan(self, height: int, width: int) -> tiling.Plan:
        """How a picture of this size, LR pixels, is cut into tiles.

        Raises:
            ShapeError: the picture is smaller than the model takes, or the tile than its halo.
        """
        least = self._smallest_side()
        if min(height, width) < least:
            way_out = ", or a model exported with --no-collapse" if least > 1 else ""
            if least > self.contract.min_side:
                way_out = ", or an engine built with smaller --minShapes"
            raise ShapeError(f"the picture is {height}x{width} (HxW), expected at least {least} pixels a side{way_out}")
        if self._tile != "auto":
            tile = self._tile
        else:
            tile = self._automatic_tile() if self._device is None else self._device_tile(self._device, height, width)
        if self._fits is not None:
            tile = min(tile, self._fits)
        if self._device is not None and tile <= 2 * self._halo and max(height, width) > tile:
            raise ShapeError(
                f"the picture is {height}x{width} (HxW), the engine takes tiles of up to {tile}, and those are nothing "
                f"but halo, which is {self._halo} on each side: build one with: "
                f"edsr-trt build --tile {default_tile(self._halo)}"
            )
        return tiling.plan(height, width, tile, self._halo, least)

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
        translucent = alpha if not opaque else None
        tiles = self._tiles(pixels, translucent, peak, plan)
        if len(plan) == 1 and alpha is None and self._device is None and not self._closed:
            yield np.ascontiguousarray(next(tiles))  # nothing to put together, and nothing is thrown away
            return
        for row in plan.rows:
            height = (row.core_stop - row.core_start) * self.scale
            channels = pixels.shape[2] + (alpha is not None)
            band = np.empty((height, pixels.shape[1] * self.scale, channels), _result_type(pixels))
            if alpha is not None and opaque:
                band[:, :, -1] = peak
            for column in plan.columns:
                if self._closed:
                    raise ValueError(f"{self._path.stem}: this upscaler is closed")
                target = band[:, column.core_start * self.scale : column.core_stop * self.scale]
                kept = tuple(slice(s.kept.start * self.scale, s.kept.stop * self.scale) for s in (row, column))
                tile = next(tiles)
                target[:, :, : tile.shape[2]] = tile[kept]
            yield band

    def close(self) -> None:
        """Give back the model's memory; nothing can be upscaled after that."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._pool is not None:
            self._pool.shutdown()  # what is under way is finished
        with self._lock:
            self._backend.close()
            if self._exact is not None and self._exact is not self._backend:
                self._exact.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(EdsrError) if error is not None else nullcontext():  # a consequence of that one
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

    def _tiles(self, pixels: Pixels, alpha: Pixels | None, peak: float, plan: tiling.Plan) -> Iterator[Pixels]:
        """Upscaled tiles in order, with halo; so many are under way as the backend works on at the same time."""

        def run(row: tiling.Span, column: tiling.Span) -> Pixels:
            where = np.s_[row.start : row.stop, column.start : column.stop]
            return (
                self._tile_of(pixels[where])
                if alpha is None
                else self._translucent_tile(pixels[where], alpha[where], peak)
            )

        if self._pool is None or self._device is None:
            yield from (run(row, column) for row, column in plan)
            return
        under_way: deque[Future[Pixels]] = deque()
        try:
            for row, column in plan:
                under_way.append(self._submit(self._pool, run, row, column))
                if len(under_way) > self._device.workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()

    def _submit(self, pool: ThreadPoolExecutor, run: Callable[..., Pixels], *where: tiling.Span) -> Future[Pixels]:
        try:
            return pool.submit(run, *where)
        except RuntimeError as err:  # how a pool tells that it was shut down, by another thread meanwhile
            raise ValueError(f"{self._path.stem}: this upscaler is closed") from err

    def _tile_of(self, lr: Pixels) -> Pixels:
        """(h, w, C) -> (scale*h, scale*w, C) of the same type."""
        rgb = lr if lr.shape[2] == 3 else np.repeat(lr, 3, axis=2)
        averages_floats = self._self_ensemble and self._device is None
        if lr.dtype == np.uint8 and not averages_floats and lr.shape[2] == 3:
            return self._fitting(self._uint8, rgb)
        deep = lr.dtype != np.uint8
        floats = rgb.astype(np.float32) * np.float32(255 / _peak(lr))
        sr = self._fitting(lambda part: self._float(part, deep), floats)
        return _from_float(sr if lr.shape[2] == 3 else sr.mean(axis=2, keepdims=True), lr)

    def _translucent_tile(self, lr: Pixels, alpha: Pixels, peak: float) -> Pixels:
        """Colours are upscaled premultiplied, alpha as a gray picture; both with the same network, so edges agree."""
        opacity: NDArray[np.float32] = alpha[:, :, None].astype(np.float32) / np.float32(peak)
        colour = np.broadcast_to(lr, (*alpha.shape, 3)).astype(np.float32) * np.float32(255 / peak)
        deep = lr.dtype != np.uint8
        sr_gray, sr_colour = (
            self._fitting(lambda part: self._float(part, deep), part)
            for part in (np.repeat(opacity * 255, 3, axis=2), colour * opacity)
        )
        sr_alpha = sr_gray.mean(axis=2, keepdims=True).clip(0, 255)
        straight = np.divide(sr_colour * 255, sr_alpha, out=np.zeros_like(sr_colour), where=sr_alpha >= 0.5)
        if lr.shape[2] == 1:
            straight = straight.mean(axis=2, keepdims=True)
        return _from_float(np.concatenate([straight, sr_alpha], axis=2), lr)

    def _fitting(self, run: Callable[[Pixels], Pixels], lr: Pixels) -> Pixels:
        """(h, w, 3) -> (scale*h, scale*w, 3) at once, or in smaller tiles where the device has too little memory."""
        if self._fits is None or max(lr.shape[:2]) <= self._fits:
            try:
                return run(lr)
            except DeviceMemoryError as err:
                self._halve(max(lr.shape[:2]), err)
        assert self._fits is not None
        plan = tiling.plan(lr.shape[0], lr.shape[1], self._fits, self._halo, self._smallest_side())
        scale = self.scale
        sr = np.empty((scale * lr.shape[0], scale * lr.shape[1], 3), lr.dtype)
        for row, column in plan:
            part = self._fitting(run, lr[row.start : row.stop, column.start : column.stop])
            kept = tuple(slice(s.kept.start * scale, s.kept.stop * scale) for s in (row, column))
            where = tuple(slice(s.core_start * scale, s.core_stop * scale) for s in (row, column))
            sr[where] = part[kept]
        return sr

    def _halve(self, side: int, err: DeviceMemoryError) -> None:
        """Take no tile of this side any more, and say so."""
        smaller = max(side // 2, LEAST_HALOS * self._halo, self._smallest_side())
        if smaller >= side:
            raise EnvironmentUnfitError(
                f"{err}; tiles smaller than {side} would be little else than halo, which is {self._halo} on each side"
            ) from err
        with self._lock:
            if self._fits is not None and self._fits < side:
                return  # another thread has met the same
            self._fits = smaller
        self._note(f"{err}: going on with tiles of {smaller} instead of {side}")

    def _uint8(self, rgb: Pixels) -> Pixels:
        try:
            return np.squeeze(self._run_uint8(self._backend, rgb[None]), axis=0)
        except NonFiniteError:
            pass
        try:
            return np.squeeze(self._run_uint8(self._exact_backend(), rgb[None]), axis=0)
        except NonFiniteError as err:
            raise self._not_finite() from err

    def _run_uint8(self, backend: Backend, lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._self_ensemble and isinstance(backend, DeviceBackend):
            return backend.mean_uint8(lr)
        return backend.run_uint8(lr)

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
        if isinstance(backend, DeviceBackend):
            return backend.mean_float(lr)
        total = backend.run_float(lr)
        for view in VIEWS[1:]:
            total += _unview(backend.run_float(_view(lr, view)), view)
        return total / np.float32(len(VIEWS))

    def _exact_backend(self) -> Backend:
        """The same model in the highest precision that the backend has, loaded when first needed."""
        with self._lock:
            if self._exact is None:
                name, precision = exact_backend(self._backend_name)
                wanted: Precision = precision or self.contract.precision
                same = self._backend.precision == wanted or self._device is not None
                self._exact = (
                    self._backend if same else open_backend(name, self._path, self.contract, wanted, self._threads)
                )
            return self._exact

    def _not_finite(self) -> NumericalError:
        if self._exact_backend().precision == "fp16":
            return NumericalError(
                f"{self._path.stem} gives NaN or infinity for this picture in FP16: run it with --precision fp32"
            )
        return NumericalError(f"{self._path.stem} gives NaN or infinity for this picture, in FP32 too")

    def _take(self, engine: EngineDescription) -> None:
        """Go by the contract of an engine: it is another export of the model, and may do the averaging itself."""
        contract, largest = engine.contract, min(engine.profile.max.height, engine.profile.max.width)
        if self._precision not in (None, contract.precision):
            raise EnvironmentUnfitError(
                f"the engine computes in {contract.precision}, not in {self._precision}: use --precision auto"
            )
        if self._tile != "auto" and self._tile > largest:
            raise EdsrError(
                f"tile {self._tile} is larger than the engine takes, which is {largest}: use a smaller one or auto, "
                f"or build an engine with: edsr-trt build --tile {self._tile}"
            )
        self._self_ensemble = self._self_ensemble and not contract.self_ensemble
        self.contract = contract

    def _smallest_side(self) -> int:
        return self.contract.min_side if self._device is None else self._device.smallest_side

    def _device_tile(self, device: DeviceBackend, height: int, width: int) -> int:
        """The engine's; a picture that is not square may be larger, if none of its views is turned."""
        if not self._self_ensemble and height <= device.largest_hw[0] and width <= device.largest_hw[1]:
            return max(height, width)
        return min(device.largest_hw)

    def _automatic_tile(self) -> int:
        """The one that was chosen when the work began, or what there is memory for now."""
        available = available_memory()
        side = automatic_tile(self.contract, self._halo, available)
        with self._lock:
            before = self._chosen_tile
            if before is None:
                return side
            if side >= before or has_room(before, self.contract, available):
                return before
            self._chosen_tile = side
        self._note(
            f"there is not enough memory for tiles of {before}, with which this job began: going on with tiles of "
            f"{side}; results may differ in the last bit"
        )
        return side


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
