"""Pictures from file to file: one is read and decoded, one is upscaled and one is encoded, all at the same time.

Three threads: reading ahead, inference (the caller's own thread), writing. Numpy, the decoders and igzip let go of the
interpreter while they work, so threads are enough. What lies between them is bounded in bytes: one large picture is
decoded ahead or several small ones, and of a result only a few bands exist at a time. Nothing is said in here; a
``Watcher`` is told, always in the caller's thread.
"""

import contextlib
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edsr_runtime.conveyor import Conveyor, StoppedError
from edsr_runtime.errors import DiskFullError, NumericalError, PictureError, ShapeError
from edsr_runtime.job.digest import Digest, digest_of_refused, digest_of_source, digest_of_target, unchanged
from edsr_runtime.jobs import Job
from edsr_runtime.pictures.picture import Picture, Samples
from edsr_runtime.pictures.read import DEFAULT_MAX_PIXELS, read_picture
from edsr_runtime.pictures.row_writer import RowWriter
from edsr_runtime.pictures.write import DEFAULT_QUALITY, open_writer

Read = Callable[[Path, int], Picture]
"""A path and the largest number of pixels; ``PictureError`` where there is no picture."""
PICTURE_ERRORS = (PictureError, ShapeError, NumericalError)
"""What is wrong with one picture; every other error would meet the next picture too, and ends the work."""

_AHEAD_BYTES = 256 << 20
_AHEAD_PICTURES = 8
_BANDS_BYTES = 64 << 20
_BANDS = 16

_at_work: "set[_Inference]" = set()
"""In this process, just now."""


class Engine(Protocol):
    """What computes: an ``Upscaler``."""

    @property
    def scale(self) -> int: ...

    def bands(self, pixels: Samples, alpha: Samples | None = None) -> Iterator[Samples]:
        """(H, W, C) and (H, W) -> (h, scale * W, C [+ 1 with alpha]), top to bottom until the picture is complete."""
        ...


@dataclass(frozen=True)
class Options:
    """How files are read and written."""

    quality: int = DEFAULT_QUALITY
    """1 to 100, of JPEG and WebP."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    """Largest height x width of an input."""
    receipts: bool = False
    """Whether results carry size and hash of both files, for a journal."""
    tag: str = ""
    """Of the job, for the names of unfinished files."""
    sandbox: bool = False
    """Whether pictures are decoded in another process, with limits on memory and time."""


@dataclass(frozen=True)
class Result:
    """What became of one picture."""

    job: Job
    error: str | None = None
    """The sentence why there is no output, None if it is there. Not the exception: that would keep its pixels alive."""
    lr_hw: tuple[int, int] | None = None
    """(H, W) of the input, if it could be read."""
    seconds: float = 0.0
    """Spent on inference."""
    notes: tuple[str, ...] = ()
    """Sentences about what was changed while reading, or could not be kept while writing."""
    input: Digest | None = None
    """Of the source; None if nobody asked for receipts, or if it could not be read."""
    output: Digest | None = None
    """The same of the target."""


@dataclass(frozen=True)
class Seconds:
    """Where the time went; the first three overlap."""

    decode: float
    infer: float
    encode: float
    waited: float
    """Of the inference thread, for pictures to come and for bands to be taken away."""
    total: float


class Watcher(Protocol):
    """Is told how the work goes on."""

    def opened(self, job: Job, lr_hw: tuple[int, int]) -> None:
        """A picture has been decoded and is about to be upscaled."""
        ...

    def advanced(self, job: Job, pixels: int) -> None:
        """So many pixels of its output have been computed."""
        ...

    def finished(self, result: Result) -> None:
        """Done, or failed."""
        ...


def upscale_files(jobs: Sequence[Job], engine: Engine, options: Options, watcher: Watcher) -> Seconds:
    """Do all jobs, in order. A picture that fails is told to the watcher and stops nobody else.

    Whatever ends the work (an interrupt, an error that is no picture's own), files are complete or not there, and
    folders that were made and stayed empty are removed.

    Raises:
        EdsrError: not of one picture alone: the model, the machine.
    """
    start = time.perf_counter()
    results: queue.SimpleQueue[Result] = queue.SimpleQueue()
    folders = _Folders()
    at_last = contextlib.ExitStack()
    reader = _Reader(jobs, options, at_last.enter_context(reading(options)))
    writer = _Writer(results, options.receipts)
    work = _Inference(engine, options, watcher, reader, writer, results, folders)

    def stop() -> None:
        reader.pictures.stop()
        writer.sheets.stop()
        at_last.close()  # a picture that is being read in another process is waited for no longer

    def stop_after_error(thread: "Future[None]") -> None:
        if thread.exception() is not None:
            stop()

    _at_work.add(work)
    try:
        with ThreadPoolExecutor(2, "edsr-picture") as pool, contextlib.ExitStack() as at_end:
            at_end.callback(stop)  # before the pool waits for its threads, whatever happened
            threads = [pool.submit(reader.run), pool.submit(writer.run)]
            for thread in threads:
                thread.add_done_callback(stop_after_error)
            with contextlib.suppress(StoppedError):  # a thread ended with an error, which the next lines raise
                work.run()
            for thread in threads:
                thread.result()
    finally:
        _at_work.discard(work)
        work.tell_results()
        folders.remove_empty()
    return Seconds(reader.seconds, work.seconds, writer.seconds, work.waited, time.perf_counter() - start)


@contextlib.contextmanager
def reading(options: Options) -> Iterator[Read]:
    """What reads pictures: this process, or another one that has limits."""
    if not options.sandbox:
        yield read_picture
        return
    from edsr_runtime.sandbox import Sandbox

    with Sandbox() as sandbox:
        yield sandbox.read


def tell_what_is_finished() -> None:
    """Tell the watchers of this process what they have not heard of yet, from any thread: it is about to end."""
    for work in tuple(_at_work):
        work.tell_results()


def open_target(
    job: Job, picture: Picture, scale: int, quality: int, path: Path | None = None, tag: str = ""
) -> RowWriter:
    """The writer for a job's result; everything its format cannot hold is refused here, before any inference.

    Args:
        job: tells the format.
        picture: the decoded source.
        scale: enlargement.
        quality: of JPEG and WebP.
        path: default: the job's target.
        tag: see ``Options``.

    Raises:
        PictureError: the format cannot hold the result, or the path cannot be used.
    """
    target = path or job.target
    try:
        return open_writer(
            target,
            job.format,
            height=scale * picture.height,
            width=scale * picture.width,
            channels=picture.channels,
            dtype=picture.pixels.dtype,
            has_alpha=picture.alpha is not None,
            metadata=picture.metadata,
            quality=quality,
            may_replace=job.may_replace,
            tag=tag,
        )
    except OSError as err:  # a name that is too long, a folder that may not be looked into
        raise PictureError(f"{target}: cannot be written ({err.strerror})") from err


@dataclass(frozen=True)
class _Opened:
    job: Job
    picture: Picture | str
    """Or why there is none."""
    input: Digest | None


@dataclass
class _Sheet:
    """One output file under way. ``has_failed`` is set by the writing thread and looked at by the other."""

    job: Job
    file: RowWriter
    lr_hw: tuple[int, int]
    notes: tuple[str, ...]
    input: Digest | None
    has_failed: bool = False


@dataclass(frozen=True)
class _End:
    """After the last band of a sheet."""

    seconds: float
    error: str | None = None


class _AbandonedError(Exception):
    """Inference failed: what has been written of the file is to be removed."""


class _Reader:
    """The thread that decodes ahead."""

    def __init__(self, jobs: Sequence[Job], options: Options, read: Read) -> None:
        self._read = read
        self.pictures: Conveyor[_Opened | None] = Conveyor(_AHEAD_BYTES, _AHEAD_PICTURES)
        self.seconds = 0.0
        self._jobs = jobs
        self._options = options

    def run(self) -> None:
        try:
            for job in self._jobs:
                self.pictures.wait_for_room()
                self._put_next(job)
            self.pictures.put(None)
        except StoppedError:
            return

    def _put_next(self, job: Job) -> None:
        start = time.perf_counter()
        picture: Picture | str
        digest: Digest | None = None
        try:
            with unchanged(job.source):
                picture = self._read(job.source, self._options.max_pixels)
                if self._options.receipts:
                    digest = digest_of_source(job.source)
            size = picture.pixels.nbytes + (0 if picture.alpha is None else picture.alpha.nbytes)
        except PictureError as err:
            picture, size = str(err), 0
            if self._options.receipts:
                digest = digest_of_refused(job.source)
        self.seconds += time.perf_counter() - start
        self.pictures.put(_Opened(job, picture, digest), size)


class _Writer:
    """The thread that encodes: from each sheet its bands, then its end."""

    def __init__(self, results: "queue.SimpleQueue[Result]", receipts: bool) -> None:
        self.sheets: Conveyor[_Sheet | Samples | _End | None] = Conveyor(_BANDS_BYTES, _BANDS)
        self.seconds = 0.0
        self._results = results
        self._receipts = receipts
        self._waited = 0.0

    def run(self) -> None:
        try:
            while (sheet := self.sheets.get()) is not None:
                assert isinstance(sheet, _Sheet)
                start, waited = time.perf_counter(), self._waited
                self._write(sheet)
                self.seconds += time.perf_counter() - start - (self._waited - waited)
        except StoppedError:
            return

    def _write(self, sheet: _Sheet) -> None:
        end: _End | None = None
        error: str | None = None
        output: Digest | None = None
        try:
            with sheet.file as file:
                while not isinstance(band := self._next(), _End):
                    file.write_rows(band)
                    del band  # not to be kept alive while waiting for the next
                end = band
                if end.error is not None:
                    raise _AbandonedError
            if self._receipts:
                output = digest_of_target(sheet.job.target)
        except _AbandonedError:
            error = end.error if end else None
        except DiskFullError as err:
            raise DiskFullError(
                f"{err}. The work was stopped, finished pictures are intact: make room, then go on with --resume"
            ) from err
        except PICTURE_ERRORS as err:
            error = str(err)
        except MemoryError:
            error = (
                f"{sheet.job.target}: not enough memory to write it as {sheet.job.format}; "
                "png and tiff need little, jpg and webp hold the whole picture"
            )
        if end is None:
            sheet.has_failed = True
            while not isinstance(band := self._next(), _End):
                del band
            end = band
        notes = (*sheet.notes, *sheet.file.notes) if error is None else sheet.notes
        self._results.put(Result(sheet.job, error, sheet.lr_hw, end.seconds, notes, sheet.input, output))

    def _next(self) -> Samples | _End:
        start = time.perf_counter()
        thing = self.sheets.get()
        self._waited += time.perf_counter() - start
        assert thing is not None and not isinstance(thing, _Sheet)
        return thing


class _Inference:
    """What the caller's thread does."""

    def __init__(
        self,
        engine: Engine,
        options: Options,
        watcher: Watcher,
        reader: _Reader,
        writer: _Writer,
        results: "queue.SimpleQueue[Result]",
        folders: "_Folders",
    ) -> None:
        self.seconds = 0.0
        self.waited = 0.0
        self._engine = engine
        self._options = options
        self._watcher = watcher
        self._reader = reader
        self._writer = writer
        self._results = results
        self._folders = folders

    def run(self) -> None:
        while (read := self._next_picture()) is not None:
            if isinstance(read.picture, str):
                self._results.put(Result(read.job, read.picture, input=read.input))
            else:
                self._upscale(read.job, read.picture, read.input)
            del read  # not to be kept alive while waiting for the next
            self.tell_results()
        self._writer.sheets.put(None)

    def tell_results(self) -> None:
        """Tell the watcher what has been finished since the last call."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._watcher.finished(self._results.get_nowait())

    def _next_picture(self) -> _Opened | None:
        start = time.perf_counter()
        read = self._reader.pictures.get()
        self.waited += time.perf_counter() - start
        return read

    def _upscale(self, job: Job, picture: Picture, digest: Digest | None) -> None:
        lr_hw = (picture.height, picture.width)
        try:
            self._folders.make(job.target.parent)
            file = open_target(job, picture, self._engine.scale, self._options.quality, tag=self._options.tag)
        except PICTURE_ERRORS as err:
            self._results.put(Result(job, str(err), lr_hw, notes=picture.notes, input=digest))
            return
        sheet = _Sheet(job, file, lr_hw, picture.notes, digest)
        self._watcher.opened(job, lr_hw)
        self._writer.sheets.put(sheet)
        before = self.seconds
        error: str | None = None
        try:
            self._put_bands(sheet, picture)
        except PICTURE_ERRORS as err:
            error = str(err)
        except MemoryError:
            error = f"{job.source}: not enough memory to upscale it; use a smaller --tile"
        self._writer.sheets.put(_End(self.seconds - before, error))

    def _put_bands(self, sheet: _Sheet, picture: Picture) -> None:
        bands = iter(self._engine.bands(picture.pixels, picture.alpha))
        while not sheet.has_failed:
            before = time.perf_counter()
            self._writer.sheets.wait_for_room()
            start = time.perf_counter()
            band = next(bands, None)
            self.waited += start - before
            self.seconds += time.perf_counter() - start
            if band is None:
                return
            self._writer.sheets.put(band, band.nbytes)
            pixels = band.shape[0] * band.shape[1]
            del band
            self._watcher.advanced(sheet.job, pixels)
            self.tell_results()


class _Folders:
    """Output folders, made when they are first needed."""

    def __init__(self) -> None:
        self._made: list[Path] = []

    def make(self, folder: Path) -> None:
        try:
            missing = []
            while not folder.is_dir():
                missing.append(folder)
                folder = folder.parent
            for path in reversed(missing):
                self._made.append(path)
                path.mkdir(exist_ok=True)
        except OSError as err:
            raise PictureError(f"{err.filename or folder}: this output folder cannot be made ({err.strerror})") from err

    def remove_empty(self) -> None:
        for path in reversed(self._made):
            with contextlib.suppress(OSError):  # it is not empty, as it should be
                path.rmdir()
