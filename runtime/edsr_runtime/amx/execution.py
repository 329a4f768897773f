"""A program on pictures: memory for planes, and threads."""

import ctypes
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.amx.library import Layer, Network, Plane, check_machine, load
from edsr_runtime.amx.packing import aligned, aligned_zeros, packed_bias, packed_kernel, tiles_of
from edsr_runtime.amx.program import Program
from edsr_runtime.backends.base import NonFiniteError
from edsr_runtime.errors import EnvironmentUnfitError

_WIDTH = 16
"""Pixels that are computed at once; what lies behind a row's end is computed too, and not kept."""
_NOWHERE = -1
_NOBODY_WAITS = 1 << 30
"""As many arrivals let everybody go on to the end; what they compute is not used."""
_ROWS_FOR_PAIRS = 24
"""Of each thread, at least: with pairs, its first convolution is computed for some rows of its neighbours too."""


_Prepared = tuple["ctypes.Array[Layer]", "ctypes.Array[Plane]", "ctypes.Array[Plane]"]


class Execution:
    """A program that is ready to run. One picture at a time, with all threads."""

    def __init__(self, program: Program, threads: int, *, on_matrix_units: bool = True) -> None:
        """Pack the kernels.

        Args:
            program: what to compute.
            threads: how many compute.
            on_matrix_units: False: the same in plain C, slowly, for tests.

        Raises:
            EnvironmentUnfitError: this machine has no matrix units, or the kernels were not compiled.
        """
        if on_matrix_units:
            check_machine()
        self._library = load()
        self._program = program
        self._on_matrix_units = on_matrix_units
        self._threads = threads
        self._kernels = [aligned(packed_kernel(convolution.kernel)) for convolution in program.convolutions]
        self._biases = [aligned(packed_bias(convolution.bias)) for convolution in program.convolutions]
        # (F, 3, k, k) -> (k, k, 3, F)
        self._first = np.ascontiguousarray(program.first_kernel.transpose(2, 3, 1, 0))
        self._first_bias = np.ascontiguousarray(program.first_bias)
        self._planes: dict[int, NDArray[Any]] = {}
        self._between: dict[int, NDArray[Any]] = {}
        self._made_for: tuple[int, int, bool] | None = None
        self._closed = False
        self._start()

    def run_uint8(self, lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) -> (scale*H, scale*W, 3), clamped and rounded half to even.

        Raises:
            NonFiniteError: NaN or infinity inside.
            MemoryError: there is too little for the planes.
        """
        height, width, _ = lr.shape
        scale = self._program.scale
        sr = np.empty((scale * height, scale * width, 3), np.uint8)
        self._run(lr.astype(np.float32), sr_bytes=sr)
        return sr

    def run_float(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        """(H, W, 3) of 0..255 -> (3, scale*H, scale*W), not clamped; raises as ``run_uint8`` does."""
        height, width, _ = lr.shape
        scale = self._program.scale
        sr = np.empty((3, scale * height, scale * width), np.float32)
        self._run(lr, sr_floats=sr)
        return sr

    def close(self) -> None:
        """End the threads and give back memory, after the picture that is being computed."""
        with self._lock:
            self._closed = True
            self._pool.shutdown()
            self._planes.clear()
            self._between.clear()

    def _start(self) -> None:
        """What a process needs of its own: a child that was forked has neither threads nor, perhaps, a free lock."""
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max(1, self._threads - 1), "edsr-amx")

    def _run(self, lr: NDArray[np.float32], **sr: NDArray[Any]) -> None:
        height, width, _ = lr.shape
        reach = self._program.first_kernel.shape[-1] // 2
        framed = np.zeros((height + 2 * reach, width + 2 * reach, 3), np.float32)
        np.subtract(lr, self._program.mean, out=framed[reach : reach + height, reach : reach + width])
        if os.getpid() != self._process:
            self._start()
        with self._lock:
            if self._closed:
                raise ValueError("this model is closed")
            layers, planes, between = self._prepared(height, width)
            network = Network(
                features=self._program.features,
                height=height,
                width=width,
                scale=self._program.scale,
                threads=self._threads,
                count=len(layers),
                layers=layers,
                planes=planes,
                between=between,
                lr=framed.ctypes.data,
                first=self._first.ctypes.data,
                first_bias=self._first_bias.ctypes.data,
                first_kernel=self._program.first_kernel.shape[-1],
                first_to=0,
                **{name: array.ctypes.data for name, array in sr.items()},
            )
            self._compute(network)
        if network.is_not_finite:
            raise NonFiniteError

    def _compute(self, network: Network) -> None:
        """Threads wait for each other at the ends of layers, so all run at once, or none goes on."""
        others: list[Future[None]] = []
        try:
            for thread in range(1, self._threads):
                others.append(self._submit(network, thread))
            self._share(network, 0)
        except BaseException:
            network.arrived = _NOBODY_WAITS
            raise
        finally:
            _wait_for(others)  # they write to memory that is given back after this

    def _submit(self, network: Network, thread: int) -> Future[None]:
        try:
            return self._pool.submit(self._share, network, thread)
        except RuntimeError as err:  # how Python says that the system allows no more threads
            raise EnvironmentUnfitError(f"{self._threads} threads cannot be started: use fewer (--threads)") from err

    def _share(self, network: Network, thread: int) -> None:
        self._library.edsr_run(ctypes.byref(network), thread, self._on_matrix_units)

    def _layer(self, at: int, height: int, width: int, in_pairs: bool) -> Layer:
        convolution, kernel, bias = self._program.convolutions[at], self._kernels[at], self._biases[at]
        top, bottom = _range(convolution.vertical, height)
        left, right = _range(convolution.horizontal, width)
        return Layer(
            weights=kernel.ctypes.data,
            bias=bias.ctypes.data,
            kernel=convolution.kernel.shape[-1],
            tiles=tiles_of(len(convolution.kernel)),
            is_rectified=convolution.is_rectified,
            from_=convolution.source,
            to=_NOWHERE if convolution.target is None else convolution.target,
            skip=_NOWHERE if convolution.skip is None else convolution.skip,
            is_paired=in_pairs and convolution.is_paired,
            top=top,
            bottom=bottom,
            left=left,
            right=right,
        )

    def _prepared(self, height: int, width: int) -> _Prepared:
        """Layers, planes, and for each thread the rows between two convolutions, with zeros around the picture.

        What is inside does not matter: it is written before it is read.
        """
        in_pairs = height >= _ROWS_FOR_PAIRS * self._threads
        if self._made_for != (height, width, in_pairs):
            self._made_for = None  # until there is memory for all
            self._made = self._prepare(height, width, in_pairs)
            self._made_for = height, width, in_pairs
        return self._made

    def _prepare(self, height: int, width: int, in_pairs: bool) -> _Prepared:
        program = self._program
        border, features = program.border, program.features
        left = border * features
        pitch = -(-width // _WIDTH) * _WIDTH * features + 2 * left
        beyond = 2 * _WIDTH * features  # the last row is read beyond its end
        size = (height + 2 * border) * pitch + beyond
        self._planes = _zeros(self._planes, program.planes_used(in_pairs), size)
        size = _rows_between(program) * pitch + beyond + left
        self._between = _zeros(self._between, range(self._threads), size)
        nowhere = Plane()
        layers = [self._layer(at, height, width, in_pairs) for at in range(len(self._kernels))]
        planes = [
            _plane(self._planes[plane], border * pitch + left, pitch) if plane in self._planes else nowhere
            for plane in range(program.planes)
        ]
        between = [_plane(rows, left, pitch) for rows in self._between.values()]
        return (Layer * len(layers))(*layers), (Plane * len(planes))(*planes), (Plane * len(between))(*between)


def _zeros(before: dict[int, NDArray[Any]], wanted: Iterable[int], size: int) -> dict[int, NDArray[Any]]:
    """Memory for each of ``wanted``, ``size`` zeros at its beginning: that of before where it is enough."""
    arrays = {}
    for key in wanted:
        array = before.pop(key, None)
        if array is None or array.size < size:
            array = None  # given back before there is another
            array = aligned_zeros(size, np.uint16)
        else:
            array[:size] = 0
        arrays[key] = array
    return arrays


def _rows_between(program: Program) -> int:
    """Rows that are kept between two convolutions: a power of two, and more than any kernel needs."""
    return 1 << max(int(convolution.kernel.shape[-1]) for convolution in program.convolutions).bit_length()


def _plane(memory: NDArray[Any], origin: int, pitch: int) -> Plane:
    return Plane(memory.ctypes.data + origin * memory.itemsize, pitch, -1)


def _wait_for(others: Sequence[Future[None]]) -> None:
    """Until all are done, Ctrl-C or not; it counts afterwards."""
    interrupt: KeyboardInterrupt | None = None
    while not all(other.done() for other in others):
        try:
            wait(others)
        except KeyboardInterrupt as err:
            interrupt = err
    if interrupt is not None:
        raise interrupt


def _range(side: str | None, length: int) -> tuple[int, int]:
    return {None: (0, length), "first": (0, 1), "inner": (1, length - 1), "last": (length - 1, length)}[side]
