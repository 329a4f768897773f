"""Open a stranger's checkpoint file: nothing in it is run, and nothing half-read comes out.

PyTorch's zip format, its older format of pickles in a row, and safetensors are told apart by their contents. PyTorch
does not look at the checksums in its own files, so that a flipped bit would go unnoticed: they are compared here.
"""

import hashlib
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import safetensors
import torch

from edsr_runtime.errors import CheckpointError, CheckpointRefusedError
from edsr_runtime.printable import printable
from edsr_train.strangers import HEAD_BYTES, describe_stranger, describe_unknown

_NAME_LENGTH = 200  # of what a stranger's pickle asks for, as far as it is shown
_DAMAGED = "The file is cut short or damaged: download or copy it again"
_READER_ERRORS = (  # what torch.load raises on bytes that are not what they claim to be
    RuntimeError,
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    struct.error,
)
_PARSE_ERRORS = (  # what pickletools and zipfile raise on bytes that are not what they claim to be
    ValueError,
    LookupError,
    EOFError,
    OverflowError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    NotImplementedError,
)


@dataclass(frozen=True)
class Contents:
    """What a checkpoint file holds, before anybody has asked what it means."""

    value: object
    """What was saved; for safetensors a dict of tensors. Tensors may be views of the file: copy what is kept."""
    sha256: str
    """Of the whole file, as 64 hexadecimal digits."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Of a safetensors file; empty for PyTorch's formats."""


def read_container(path: Path) -> Contents:
    """Read a checkpoint file without running anything in it.

    Raises:
        CheckpointError: the file is missing, damaged, no checkpoint, or wants to run code; one sentence that begins
            with the path.
    """
    try:
        return _read(path)
    except CheckpointError as err:
        raise type(err)(f"{path}: {printable(str(err))}") from err  # names in a stranger's file may be anything
    except PermissionError as err:
        raise CheckpointRefusedError(f"{path}: cannot be read ({err.strerror}). Let this user read it") from err
    except OSError as err:
        raise CheckpointError(f"{path}: cannot be read ({err.strerror or err})") from err


def _read(path: Path) -> Contents:
    if not path.exists():
        raise CheckpointError("no such file")
    if path.is_dir():
        raise CheckpointError("is a folder. A checkpoint file is expected (.pt, .pth, .safetensors)")
    if not path.is_file():
        raise CheckpointError("is not a regular file")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        if not head:
            raise CheckpointError("is empty (0 bytes). Download or copy it again")
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if _looks_like_safetensors(head, path):
        value, metadata = _read_safetensors(path)
        return Contents(value, sha256, metadata)
    if stranger := describe_stranger(head):
        raise CheckpointError(stranger)
    if head.startswith(b"PK"):
        return Contents(_read_zip(path), sha256)
    if head.startswith(b"\x80") or _is_one_pickle(path):
        return Contents(_load_pickles(path, mmap=False), sha256)
    raise CheckpointError(describe_unknown(head))


def _looks_like_safetensors(head: bytes, path: Path) -> bool:
    """Eight bytes of length, then JSON; or the suffix, unless the file is plainly something else."""
    if path.suffix.lower() == ".safetensors":
        return not (head.startswith(b"PK") or describe_stranger(head))
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000  # the format's own limit


def _read_safetensors(path: Path) -> tuple[dict[str, object], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except safetensors.SafetensorError as err:
        raise CheckpointError(f"is not a sound safetensors file ({err}). {_DAMAGED}") from err


def _read_zip(path: Path) -> object:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_archive(archive)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as err:
        raise CheckpointError(f"is not a sound PyTorch file ({err}). {_DAMAGED}") from err
    return _load_pickles(path, mmap=True)


def _check_archive(archive: zipfile.ZipFile) -> None:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise CheckpointError(
            "is a TorchScript archive, a program with its weights. Give the checkpoint it was made from, "
            "or save its weights: torch.save(torch.jit.load(file).state_dict(), 'weights.pt')"
        )
    if not any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        inside = ", ".join(name[:_NAME_LENGTH] for name in names[:3]) or "nothing"
        raise CheckpointError(
            f"is a zip archive, but not a PyTorch checkpoint (it holds {inside}). "
            "If a checkpoint is among these, unpack it and give that"
        )
    if any(entry.flag_bits & 1 for entry in entries):
        raise CheckpointError("is an encrypted zip archive. Unpack it and give the checkpoint inside")
    # A compressed entry would be taken for weights as it is, since the file is mapped into memory.
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError("was unpacked and compressed again. Save it again with torch.save")
    # torch.serialization.set_crc32_options(False) leaves every checksum 0: then there is nothing to compare.
    if any(entry.CRC for entry in entries) and (damaged := archive.testzip()):
        raise CheckpointError(f"the checksum of {damaged} inside it is wrong. {_DAMAGED}")


def _load_pickles(path: Path, mmap: bool) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickle protocols and old storages: whether it can be read shows below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except _READER_ERRORS as err:
        reason = str(err)
    named = re.search(r"(?:unsupported GLOBAL|Unsupported global: GLOBAL) ([\w.]+)", reason)
    wanted = named[1] if named else _first_foreign_global(path)
    if wanted:
        raise CheckpointError(
            f"opening it would run code: it asks for {wanted[:_NAME_LENGTH]}. Nothing was run. A checkpoint "
            "of tensors and plain types is expected: have the program that wrote it save only model.state_dict()"
        )
    if "Unsupported operand" in reason or "Invalid magic number" in reason:
        raise CheckpointError("is a Python pickle, but not one that torch.save writes. Save it again with torch.save")
    raise CheckpointError(f"cannot be read as a PyTorch checkpoint. {_DAMAGED}")


def _first_foreign_global(path: Path) -> str | None:
    """The first name outside PyTorch's own that the file's pickles import, found without running them."""
    try:
        for stream in _pickle_streams(path):
            for name in _scan_pickle(stream).imports:
                if not name.startswith(("torch.", "collections.")):
                    return name
    except _PARSE_ERRORS:
        pass  # too damaged to be opened as an archive
    return None


def _pickle_streams(path: Path) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.namelist():
                if entry.endswith("data.pkl"):
                    with archive.open(entry) as stream:
                        yield stream
        return
    with path.open("rb") as stream:
        for _ in range(5):  # magic number, protocol, system, the object, storage keys
            yield stream


def _is_one_pickle(path: Path) -> bool:
    """Whether the whole file is one pickle of the old protocols, which begin with no signature."""
    with path.open("rb") as stream:
        return _scan_pickle(stream).is_complete and not stream.read(1)


@dataclass(frozen=True)
class _Scan:
    imports: tuple[str, ...]
    is_complete: bool


def _scan_pickle(stream: IO[bytes]) -> _Scan:
    """Read one pickle's instructions without following them, as far as they can be read."""
    imports: list[str] = []
    strings: list[str] = []
    is_complete = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # escape sequences in what only looks like a pickle
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    imports.append(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL" and len(strings) >= 2:
                    imports.append(".".join(strings[-2:]))
                elif isinstance(argument, str):
                    strings.append(argument)
            is_complete = True
        except _PARSE_ERRORS:
            pass  # damaged, or the bytes after the last pickle: what was found before counts
    return _Scan(tuple(imports), is_complete)
