"""The engines that were built here: their names, who may build one, what is there, and what can go."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from edsr_runtime.contract import Contract
from edsr_runtime.errors import EdsrError
from edsr_runtime.trt.engine_file import (
    SUFFIX,
    EngineDescription,
    Flags,
    open_engine_file,
    read_description,
)
from edsr_runtime.trt.flavour import Kind
from edsr_runtime.trt.folder import engine_folder
from edsr_runtime.trt.profile import Profile

_KEY_SCHEMA = 1  # another one: what the same inputs give has changed
_KEY_LETTERS = 10
_STEM_LETTERS = 80  # a file's name has 255 at most, also with what is added while it is written
_LOCK_SUFFIX = ".lock"
_UNFINISHED_S = 24 * 3600  # after which a half-written file belongs to no living build


@dataclass(frozen=True)
class Key:
    """All that decides what is in an engine. Not the engine's bytes: those differ from build to build."""

    onnx_sha256: str
    profile: Profile
    flavour: Kind
    version: str
    targets: tuple[str, ...]
    gpu: str
    """Full TensorRT only."""
    capability: tuple[int, int]
    """Full TensorRT only."""
    platform: str
    """Full TensorRT only: an engine of TensorRT-RTX runs on any."""
    flags: Flags

    def digest(self) -> str:
        """A few letters for the file's name."""
        text = json.dumps({"schema": _KEY_SCHEMA, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_KEY_LETTERS]


@dataclass(frozen=True)
class Entry:
    """One engine in our folder."""

    path: Path
    size: int
    """Bytes, with its description and the kernels that TensorRT-RTX compiled for it."""
    used: float
    """When it was last opened or built, seconds since 1970."""
    description: EngineDescription | None
    problem: str
    """Why it cannot be used, in a sentence; empty if nothing is known against it."""


@dataclass(frozen=True)
class Pruning:
    """What is to go; with nothing chosen only what nobody can use."""

    unused_days: float | None = None
    """Engines that were not opened for longer."""
    max_bytes: int | None = None
    """The oldest until the others are within."""
    versions: frozenset[tuple[Kind, str]] | None = None
    """Engines of any other flavour and version."""
    everything: bool = False


def engine_name(model: str, contract: Contract, key: Key) -> str:
    """``<model>_x4_fp16_<target>_<flavour><version>_<hash>.engine``.

    Args:
        model: name of the ONNX file, without suffix; letters that are special to a shell, and very many, are left out.
        contract: the file's.
        key: see there.
    """
    stem = re.sub(r"(_x\d+|_fp16|_u8|_plus)+$", "", model)
    stem = re.sub(r"[^A-Za-z0-9_.-]+|^[.-]+", "-", stem).lstrip("-")[:_STEM_LETTERS] or "model"
    extras = ("_u8" if contract.io == "uint8" else "") + ("_plus" if contract.self_ensemble else "")
    target = "-".join(key.targets).lower() or "sm{}{}".format(*key.capability)
    return (
        f"{stem}_x{contract.scale}_{contract.precision}{extras}_{target}_{key.flavour}{key.version}_{key.digest()}"
        + SUFFIX
    )


@contextlib.contextmanager
def locked(engine: Path, wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Be the only one who builds this engine.

    Args:
        engine: where it is to lie; its folder is made.
        wait: called once if somebody else builds it, before waiting for that to end.

    Raises:
        EdsrError: nothing can be written there.
    """
    path = engine.with_name(f".{engine.name}{_LOCK_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _acquired(path, wait)
    except OSError as err:
        raise EdsrError(f"{engine} cannot be written ({err.strerror})") from err
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def find_intact(path: Path) -> EngineDescription | None:
    """The description of an engine in our folder, if both are there and belong together."""
    try:
        return open_engine_file(path)[1]
    except EdsrError:
        return None


def entries() -> list[Entry]:
    """All engines, the last used one first. Their bytes are not read: see ``damaged``."""
    found = []
    for path in _files(f"*{SUFFIX}"):
        description, problem = None, ""
        try:
            description = read_description(path)
        except EdsrError as err:
            problem = str(err)
        with contextlib.suppress(FileNotFoundError):  # somebody prunes at this moment
            size = sum(file.stat().st_size for file in (path, *_beside(path)))
            found.append(Entry(path, size, path.stat().st_mtime, description, problem))
    return sorted(found, key=lambda entry: -entry.used)


def damaged() -> list[Entry]:
    """Engines that are not what their descriptions say, or that others could have put there; reads all of them."""
    found = []
    for entry in entries():
        try:
            status = entry.path.stat()
            open_engine_file(entry.path)
            os.utime(entry.path, ns=(status.st_atime_ns, status.st_mtime_ns))  # this was no use of it
        except EdsrError as err:
            found.append(Entry(entry.path, entry.size, entry.used, entry.description, str(err)))
    return found


def prune(what: Pruning, dry_run: bool = False) -> list[Path]:
    """Remove files; those that went, or would go."""
    now = time.time()
    going = _leftovers(now)
    kept = []
    for entry in entries():
        described = entry.description
        unused = what.unused_days is not None and now - entry.used > what.unused_days * 24 * 3600
        other = (
            what.versions is not None
            and described is not None
            and (described.flavour, described.version) not in what.versions
        )
        if what.everything or described is None or unused or other:
            going.append(entry.path)
        else:
            kept.append(entry)
    if what.max_bytes is not None:
        total = 0
        for entry in kept:  # the last used one first
            total += entry.size
            if total > what.max_bytes:
                going.append(entry.path)
    if not dry_run:
        for path in going:
            for file in (path, *_beside(path)):
                file.unlink(missing_ok=True)
    return going


def _files(pattern: str) -> list[Path]:
    folder = engine_folder()
    hidden = pattern.startswith(".")
    found = folder.glob(pattern) if folder.is_dir() else ()
    return sorted(path for path in found if path.is_file() and path.name.startswith(".") == hidden)


def _beside(engine: Path) -> list[Path]:
    """What belongs to an engine: its description, and ``<engine>.<gpu>.jit``."""
    return [path for path in _files(f"*{SUFFIX}.*") if path.name.startswith(f"{engine.name}.")]


def _leftovers(now: float) -> list[Path]:
    """Half-written files of builds that were killed, and what belongs to an engine that is gone."""
    engines = _files(f"*{SUFFIX}")
    owned = {path for engine in engines for path in _beside(engine)}
    lonely = [path for path in _files(f"*{SUFFIX}.*") if path not in owned]
    unfinished = [path for path in _files(f".*{SUFFIX}*") if now - path.stat().st_mtime > _UNFINISHED_S]
    return lonely + unfinished


def _acquired(path: Path, wait: Callable[[], None]) -> int:
    """The lock file, open and ours."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                wait()
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_still(path, file):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # who had it has removed it: another file stands there now


def _is_still(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False
