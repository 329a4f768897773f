"""Decoded pictures are stored once, found again, and never used when they are not those that were asked for."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edsr_runtime.errors import DataError
from edsr_train.data import store
from edsr_train.data.in_order import in_order
from edsr_train.data.pictures import read_rgb
from edsr_train.data.pixel_file import PixelFile
from edsr_train.data.store import Collection, Item, NotStoredError, open_collection, problems_of, stamp
from photographs import noise, save


def quiet(done: int, total: int, what: str) -> None:
    pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, (height, width) in enumerate([(5, 7), (1, 9), (8, 2)]):
        save(noise(height, width, index), tmp_path / "pictures" / f"{index}.png")
    return tmp_path / "pictures"


def collection(folder: Path, made: list[str] | None = None, recipe: str = "HR") -> Collection:
    """The folder's pictures as they are now; the names of those that are made are noted."""

    def make(file: Path) -> Callable[[], NDArray[np.uint8]]:
        def read() -> NDArray[np.uint8]:
            if made is not None:
                made.append(file.stem)
            return read_rgb(file)

        return read

    items = [Item(file.stem, (stamp(file),), make(file)) for file in sorted(folder.iterdir())]
    return Collection(str(folder), {"what": recipe}, "pictures", items)


def pixels(stored: PixelFile) -> dict[str, bytes]:
    return {picture.name: stored[index].tobytes() for index, picture in enumerate(stored.pictures)}


def direct(folder: Path) -> dict[str, bytes]:
    return {file.stem: read_rgb(file).tobytes() for file in folder.iterdir()}


def test_what_is_stored_is_what_is_read(folder: Path, tmp_path: Path) -> None:
    stored, note = open_collection(tmp_path / "new" / "cache", collection(folder), quiet)
    assert note == f"pictures: prepared, kept in {stored.path}"
    assert pixels(stored) == direct(folder)
    assert [picture.hw for picture in stored.pictures] == [(5, 7), (1, 9), (8, 2)]
    assert not stored.pixels.flags.writeable  # a writable mapping may not be larger than the memory


def test_what_is_stored_is_found_again(folder: Path, tmp_path: Path) -> None:
    open_collection(tmp_path, collection(folder), quiet)
    made: list[str] = []
    stored, note = open_collection(tmp_path, collection(folder, made), quiet)
    assert (made, note) == ([], None)
    assert pixels(stored) == direct(folder)


def test_what_is_stored_can_be_read_where_nothing_can_be_written(folder: Path, tmp_path: Path) -> None:
    stored, _ = open_collection(tmp_path / "cache", collection(folder), quiet)
    for file in (tmp_path / "cache").glob(".*"):
        file.unlink()
    before = sorted(os.listdir(tmp_path / "cache"))
    open_collection(tmp_path / "cache", collection(folder), quiet)
    assert sorted(os.listdir(tmp_path / "cache")) == before == [stored.path.name]


def test_files_that_nobody_uses_are_removed_when_others_are_made(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    files = {}
    for recipe in ("old", "used"):
        files[recipe] = open_collection(cache, collection(folder, recipe=recipe), quiet)[0].path
    long_ago = time.time() - (store.UNUSED_DAYS + 1) * 86_400
    for file in files.values():
        os.utime(file, (long_ago, long_ago))
    (cache / "mine.txt").touch()
    os.utime(cache / "mine.txt", (long_ago, long_ago))
    open_collection(cache, collection(folder, recipe="used"), quiet)
    assert all(file.exists() for file in files.values())  # nothing was made
    _, note = open_collection(cache, collection(folder, recipe="new"), quiet)
    assert note is not None
    assert note.endswith("; 1 files there were not used for 90 days and are removed")
    assert [file.exists() for file in files.values()] == [False, True]
    assert (cache / "mine.txt").exists()


def test_other_recipes_and_other_origins_have_their_own_file(folder: Path, tmp_path: Path) -> None:
    some = [
        collection(folder),
        collection(folder, recipe="LR"),
        Collection("elsewhere", {"what": "HR"}, "pictures", []),
    ]
    assert len({each.place(tmp_path) for each in some}) == 3
    other = Collection(str(folder), {"what": "HR"}, "pictures", [])
    assert other.place(tmp_path) == some[0].place(tmp_path)


def touched(folder: Path) -> None:
    os.utime(folder / "1.png", ns=(0, 10**18))


def rewritten(folder: Path) -> None:
    """As ``cp -p`` does: the file has the size and the time of change of the old one."""
    status = (folder / "1.png").stat()
    contents = (folder / "1.png").read_bytes()
    save(noise(1, 9, 77), folder / "1.png")
    other = (folder / "1.png").read_bytes()
    assert other != contents
    (folder / "1.png").write_bytes(other.ljust(status.st_size, b"\0")[: status.st_size])
    os.utime(folder / "1.png", ns=(status.st_atime_ns, status.st_mtime_ns))


def added(folder: Path) -> None:
    save(noise(2, 2), folder / "3.png")
    save(noise(2, 3), folder / "4.png")


def removed(folder: Path) -> None:
    (folder / "0.png").unlink()


def replaced(folder: Path) -> None:
    (folder / "0.png").rename(folder / "9.png")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (touched, "1 of its pictures changed"),
        (rewritten, "1 of its pictures changed"),
        (added, "2 pictures were added, 0 removed"),
        (removed, "0 pictures were added, 1 removed"),
        (replaced, "1 pictures were added, 1 removed"),
    ],
)
def test_other_files_are_read_again_and_it_is_said(
    folder: Path, tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    old, _ = open_collection(tmp_path, collection(folder), quiet)
    before = pixels(old)
    change(folder)
    progress: list[tuple[int, int, str]] = []
    stored, note = open_collection(tmp_path, collection(folder), lambda *step: progress.append(step))
    assert note == f"pictures: prepared again ({said}), kept in {stored.path}"
    count = len(stored.pictures)
    assert progress == [(done, count, f"preparing pictures again ({said})") for done in range(count + 1)]
    assert pixels(stored) == direct(folder)
    assert pixels(old) == before  # whoever has it open still does
    assert open_collection(tmp_path, collection(folder), quiet)[1] is None


def test_another_order_or_version_is_another_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = collection(folder)
    open_collection(tmp_path, some, quiet)
    turned = Collection(some.origin, some.recipe, some.title, some.items[::-1])
    stored, note = open_collection(tmp_path, turned, quiet)
    assert "again (its order changed)" in str(note)
    assert list(pixels(stored)) == ["2", "1", "0"]
    monkeypatch.setattr(store, "PIXELS_VERSION", 2)
    assert "again (it was made by another version)" in str(open_collection(tmp_path, turned, quiet)[1])
    assert open_collection(tmp_path, turned, quiet)[1] is None


def cut_off(contents: bytes) -> bytes:
    return contents[:-1]


def cut_to_nothing(contents: bytes) -> bytes:
    return b""


def other_pixel(contents: bytes) -> bytes:
    return contents[:40] + bytes([contents[40] ^ 1]) + contents[41:]


def other_index(contents: bytes) -> bytes:
    assert b'"height":5' in contents
    return contents.replace(b'"height":5', b'"height":7')


def other_length_of_index(contents: bytes) -> bytes:
    return contents[:-12] + (2**40).to_bytes(8, "little") + contents[-4:]


def longer(contents: bytes) -> bytes:
    return b"\0" + contents


def overwritten(contents: bytes) -> bytes:
    return b"something else entirely" * 100


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut_off, "it is cut off, or of another version"),
        (cut_to_nothing, "it is cut off"),
        (other_pixel, "the pixels of 0 have another checksum"),
        (other_index, "its index has another checksum"),
        (other_length_of_index, "it is cut off, or of another version"),
        (longer, "it has another length than its index says"),
        (overwritten, "it is cut off, or of another version"),
    ],
)
def test_a_damaged_file_is_made_again_and_it_is_said(
    folder: Path, tmp_path: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    path = open_collection(tmp_path, collection(folder), quiet)[0].path
    path.write_bytes(damage(path.read_bytes()))
    stored, note = open_collection(tmp_path, collection(folder), quiet)
    assert note == f"pictures: prepared again ({path.name} is damaged: {said}), kept in {path}"
    assert pixels(stored) == direct(folder)


def test_all_pictures_that_cannot_be_used_are_named_and_nothing_is_stored(folder: Path, tmp_path: Path) -> None:
    (folder / "0.png").write_text("<html>not found</html>")
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:60])
    with pytest.raises(NotStoredError, match=r"(?s)0\.png: is .*2\.png: incomplete PNG") as caught:
        open_collection(tmp_path / "cache", collection(folder), quiet)
    assert len(caught.value.problems) == 2
    assert caught.value.sizes == [None, (1, 9), None]
    assert problems_of(collection(folder), quiet) == caught.value.problems
    assert not list((tmp_path / "cache").glob("*.pixels")) + list((tmp_path / "cache").glob(".*partial"))


def test_a_file_that_is_gone_is_one_that_cannot_be_used(folder: Path, tmp_path: Path) -> None:
    open_collection(tmp_path, collection(folder), quiet)
    some = collection(folder)
    (folder / "1.png").unlink()
    gone = Item("1", (stamp(folder / "1.png"),), some.items[1].make)
    with pytest.raises(NotStoredError, match=r"1\.png: no such file"):
        open_collection(
            tmp_path, Collection(some.origin, some.recipe, some.title, [some.items[0], gone, some.items[2]]), quiet
        )


def test_a_full_disk_is_said_and_leaves_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"cache: .* cannot be kept there \(No space left on device\)\. .*--cache"):
        open_collection(tmp_path / "cache", collection(folder), quiet)
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_cache_that_cannot_be_written_to_is_said(folder: Path, tmp_path: Path) -> None:
    for name in ("0.png", "0.png/deeper"):
        with pytest.raises(DataError, match=rf"{name}: decoded pictures cannot be kept there \(.+\)"):
            open_collection(folder / name, collection(folder), quiet)


# Prepares three pictures in the cache argv[1], writing a line to the file "made" for each. A process that is told to
# wait does so in its first picture, until another one says that it is waiting for the lock; one that is told to die
# does so in its second, when the first is written.
PROCESS = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from edsr_train.data import in_order, store

cache, what = Path(sys.argv[1]), sys.argv[2]

def until(name):
    while not (cache / name).exists():
        time.sleep(0.01)

def make(index):
    with (cache / "made").open("a") as file:
        file.write(f"{index}\\n")
    if what == "wait" and index == 0:
        (cache / "begun").touch()
        until("waiting")
    if what == "die" and index == 2:
        while not any(file.stat().st_size for file in cache.glob(".*partial")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return np.full((400, 400, 3), index, np.uint8)

def report(done, total, what):
    if what.startswith("waiting for another process"):
        (cache / "waiting").touch()

if what == "second":
    until("begun")
items = [store.Item(str(i), (("", 0, 0),), lambda i=i: make(i)) for i in range(3)]
stored, note = store.open_collection(cache, store.Collection("", {}, "three", items), report)
print([int(stored[i].min()) for i in range(3)], stored[2].shape, note is not None)
"""


def start(cache: Path, what: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROCESS, str(cache), what]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def ended(process: "subprocess.Popen[str]") -> str:
    """What a process printed; one that waits in vain is ended."""
    try:
        return process.communicate(timeout=60)[0].strip()
    finally:
        process.kill()


def test_of_two_processes_one_prepares_and_the_other_waits(tmp_path: Path) -> None:
    processes = [start(tmp_path, "wait"), start(tmp_path, "second")]
    printed = [ended(process) for process in processes]
    assert printed == ["[0, 1, 2] (400, 400, 3) True", "[0, 1, 2] (400, 400, 3) False"]
    assert sorted((tmp_path / "made").read_text().split()) == ["0", "1", "2"]


def test_what_a_killed_process_leaves_is_never_used(tmp_path: Path) -> None:
    killed = start(tmp_path, "die")
    assert ended(killed) == ""
    assert killed.returncode == -signal.SIGKILL
    (partial,) = tmp_path.glob(".*partial")
    assert not list(tmp_path.glob("*.pixels"))
    assert partial.stat().st_size > 0
    assert ended(start(tmp_path, "go on")) == "[0, 1, 2] (400, 400, 3) True"
    assert not partial.exists()


def test_results_come_in_order_and_few_at_a_time() -> None:
    lock, alive, most = threading.Lock(), 0, 0

    def items() -> Iterator[int]:
        nonlocal alive, most
        for item in range(30):
            with lock:
                alive += 1
                most = max(most, alive)
            yield item

    def work(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item

    results = []
    for result in in_order(work, items(), threads=3):
        results.append(result)
        with lock:
            alive -= 1
    assert results == list(range(30))
    assert most == 4  # three at work, one in use


def test_an_exception_comes_at_its_place_and_ends_the_work() -> None:
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise KeyError(item)
        return item

    results = []
    with pytest.raises(KeyError):
        for result in in_order(work, range(1000), threads=2):
            results.append(result)
    assert results == [0, 1]
    assert len(begun) < 10
