"""Pictures decoded in another process, which has a limit on its memory and on its time.

What a decoder may do to the process that it runs in (crash, fill the memory, never end), it does to that one only. What
comes back is a header in JSON and raw samples, both checked here, and nothing that is run: no pickles. The process may
write no file longer than nothing, and its messages go nowhere. It is no prison: it has the rights of the user who
started it.
"""

import base64
import contextlib
import json
import os
import resource
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from edsr_runtime.errors import EnvironmentUnfitError, PictureError
from edsr_runtime.pictures.picture import Picture, PictureMetadata, Samples
from edsr_runtime.pictures.read import import_decoders, read_picture

MEMORY_BYTES = 1 << 30
"""What the process may have besides a picture of the largest size that is read."""
_BYTES_PER_PIXEL = 24
"""Of the largest picture: RGBA of 16 bits, twice (decoded and turned), and what the decoder needs."""
_SECONDS = 20.0
_BYTES_PER_SECOND = 2e6
"""Files are decoded faster than this on any machine; a limit on time must grow with them."""
_LENGTH = struct.Struct("<Q")
_HEADER_LIMIT = 256 << 20
"""Metadata of a picture may be large; the readers leave out what is larger."""
_ROWS_AT_ONCE = 64
_READY = b"ready\n"


class Sandbox:
    """Context manager. Its process is started when first needed, and again after it has ended."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES, seconds: float = _SECONDS) -> None:
        """Nothing is started yet.

        Args:
            memory_bytes: see ``MEMORY_BYTES``.
            seconds: for a small file.
        """
        self._memory_bytes = memory_bytes
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._max_pixels = 0

    def read(self, path: Path, max_pixels: int) -> Picture:
        """``read_picture``, over there.

        Raises:
            PictureError: as there; or the decoder crashed, took too long, or gave what is no picture.
        """
        process = self._running(max_pixels)
        deadline = time.monotonic() + self._seconds + _size(path) / _BYTES_PER_SECOND
        try:
            _send(process.stdin, json.dumps({"path": os.fsdecode(path)}).encode("utf-8", "surrogatepass"))
            answer = json.loads(_receive(process.stdout, deadline, _HEADER_LIMIT))
            if "error" in answer:
                raise PictureError(str(answer["error"]))
            return _picture(answer, process.stdout, deadline, max_pixels)
        except TimeoutError as err:
            self._end()
            raise PictureError(f"{path}: decoding took longer than {self._seconds:.0f} s, so it was stopped") from err
        except (EOFError, OSError) as err:
            reason = self._last_words()
            raise PictureError(f"{path}: its decoder {reason}; the file is damaged, or made for that") from err
        except (ValueError, TypeError, KeyError, AttributeError, MemoryError, RecursionError) as err:
            self._end()
            raise PictureError(f"{path}: its decoder gave what is no picture ({type(err).__name__})") from err

    def close(self) -> None:
        """End the process."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _running(self, max_pixels: int) -> "subprocess.Popen[bytes]":
        if self._process is not None and (self._process.poll() is not None or self._max_pixels != max_pixels):
            self._end()
        if self._process is None:
            limit = self._memory_bytes + _BYTES_PER_PIXEL * max_pixels
            words = [sys.executable, "-P", "-m", __name__, str(limit), str(max_pixels)]
            env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=env,
                start_new_session=True,  # Ctrl-C is for us, who end it
            )
            self._max_pixels = max_pixels
            deadline = time.monotonic() + 60
            try:
                if _exactly(self._process.stdout, len(_READY), deadline) != _READY:
                    raise EOFError
            except (EOFError, OSError) as err:
                reason = self._last_words()
                raise EnvironmentUnfitError(
                    f"the process that decodes pictures cannot be started: it {reason}"
                ) from err
        return self._process

    def _last_words(self) -> str:
        process = self._process
        code = None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout=5)
        self._end()
        return "does not answer" if code is None else f"crashed (signal {-code})" if code < 0 else f"ended with {code}"

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


def _picture(answer: dict[str, Any], pipe: IO[bytes] | None, deadline: float, max_pixels: int) -> Picture:
    """Checked as what a stranger says."""
    height, width, channels = (int(answer[name]) for name in ("height", "width", "channels"))
    if answer["dtype"] not in ("uint8", "uint16"):
        raise ValueError("dtype")
    dtype: np.dtype[Any] = np.dtype(answer["dtype"])
    has_alpha = bool(answer["has_alpha"])
    if channels not in (1, 3) or height < 1 or width < 1 or height * width > max_pixels:
        raise ValueError("sizes")
    data = bytearray(height * width * (channels + has_alpha) * dtype.itemsize)
    _fill(pipe, memoryview(data), deadline)
    samples: Samples = np.frombuffer(data, dtype).reshape(height, width, channels + has_alpha)
    found = answer["metadata"]
    dpi = found["dpi"]
    metadata = PictureMetadata(
        icc=_decoded(found["icc"]),
        exif=_decoded(found["exif"]),
        xmp=_decoded(found["xmp"]),
        dpi=None if dpi is None else (float(dpi[0]), float(dpi[1])),
        text=tuple((str(key), str(value)) for key, value in found["text"]),
        png_colour=tuple((_bytes(key), _bytes(value)) for key, value in found["png_colour"]),
    )
    return Picture(
        samples[:, :, :channels],
        samples[:, :, channels] if has_alpha else None,
        metadata,
        str(answer["source_format"]),
        tuple(map(str, answer["notes"])),
    )


def _answer(picture: Picture) -> bytes:
    metadata = picture.metadata
    return json.dumps(
        {
            "height": picture.height,
            "width": picture.width,
            "channels": picture.channels,
            "dtype": str(picture.pixels.dtype),
            "has_alpha": picture.alpha is not None,
            "source_format": picture.source_format,
            "notes": picture.notes,
            "metadata": {
                "icc": _encoded(metadata.icc),
                "exif": _encoded(metadata.exif),
                "xmp": _encoded(metadata.xmp),
                "dpi": metadata.dpi,
                "text": metadata.text,
                "png_colour": [(_encoded(name), _encoded(body)) for name, body in metadata.png_colour],
            },
        }
    ).encode("utf-8", "surrogatepass")


def _encoded(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _decoded(text: object) -> bytes | None:
    return None if text is None else _bytes(text)


def _bytes(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError("bytes are sent as text")
    return base64.b64decode(text, validate=True)


def _send(pipe: IO[bytes] | None, message: bytes) -> None:
    assert pipe is not None
    pipe.write(_LENGTH.pack(len(message)) + message)
    pipe.flush()


def _receive(pipe: IO[bytes] | None, deadline: float | None, limit: int) -> bytes:
    (length,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size, deadline))
    if length > limit:
        raise ValueError("length")
    return _exactly(pipe, length, deadline)


def _exactly(pipe: IO[bytes] | None, length: int, deadline: float | None) -> bytes:
    data = bytearray(length)
    _fill(pipe, memoryview(data), deadline)
    return bytes(data)


def _fill(pipe: IO[bytes] | None, view: memoryview, deadline: float | None) -> None:
    """From the pipe's descriptor itself, beside which nothing is buffered.

    Raises:
        EOFError: the other end is closed.
        TimeoutError: the time is over.
    """
    assert pipe is not None
    file = pipe.fileno()
    filled = 0
    while filled < len(view):
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([file], [], [], left)[0]:
                raise TimeoutError
        count = os.readv(file, [view[filled : filled + (1 << 20)]])
        if not count:
            raise EOFError
        filled += count


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _limit(memory_bytes: int) -> None:
    """More than what the process has already; no file it writes may have a byte; and not many may be open."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    limits = {
        resource.RLIMIT_AS: pages * resource.getpagesize() + memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _answers(path: Path, max_pixels: int) -> Iterator[bytes]:
    try:
        picture = read_picture(path, max_pixels)
        head = _answer(picture)
    except PictureError as err:
        head = json.dumps({"error": str(err)}).encode("utf-8", "surrogatepass")
        yield _LENGTH.pack(len(head)) + head
        return
    yield _LENGTH.pack(len(head)) + head
    for start in range(0, picture.height, _ROWS_AT_ONCE):
        rows = picture.pixels[start : start + _ROWS_AT_ONCE]
        if picture.alpha is not None:
            rows = np.concatenate([rows, picture.alpha[start : start + _ROWS_AT_ONCE, :, None]], axis=2)
        yield rows.tobytes()


def _serve(memory_bytes: int, max_pixels: int) -> None:
    """What the process does: read one picture after another, until nobody asks any more."""
    import_decoders()
    _limit(memory_bytes)
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    while True:
        try:
            order = json.loads(_receive(sys.stdin.buffer, None, 1 << 20))
        except EOFError:
            return
        for part in _answers(Path(order["path"]), max_pixels):
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
