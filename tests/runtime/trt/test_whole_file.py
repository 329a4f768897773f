"""Files that several write at the same time, and that nobody may find half written."""

import threading
from pathlib import Path

import pytest

from edsr_runtime.trt.whole_file import write_whole


def test_whoever_writes_last_wins_and_nobody_fails(tmp_path: Path) -> None:
    path = tmp_path / "times"
    contents = [bytes([number]) * 100_000 for number in range(4)]
    errors: list[Exception] = []
    seen: set[bytes] = set()

    def write(content: bytes) -> None:
        try:
            for _ in range(50):
                write_whole(path, content)
                seen.add(path.read_bytes())
        except OSError as err:
            errors.append(err)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and seen <= set(contents)
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "times"
    write_whole(path, b"old")

    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
