"""The folder of engines: names that hold all that matters, one builder at a time, nothing lost and nothing left."""

import dataclasses
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edsr_runtime.errors import EdsrError
from edsr_runtime.trt import cache
from edsr_runtime.trt.cache import Key, Pruning, engine_name, entries, find_intact, locked, prune
from edsr_runtime.trt.engine_file import EngineDescription, Flags, sidecar, write_engine_file
from edsr_runtime.trt.folder import make_private
from edsr_runtime.trt.profile import Profile, Size
from engine_stand_ins import ADA, ENGINE, contract, description, full_description

DAY_S = 24 * 3600
PROFILE = Profile(Size(1, 3, 3), Size(8, 256, 256), Size(8, 256, 256))
RTX = Key("cd" * 32, PROFILE, "rtx", "1.7.1.116", ("SM86", "SM120"), "", (0, 0), "", Flags(None, None))
FULL = dataclasses.replace(
    RTX, flavour="trt", version="11.4.0", targets=(), gpu=ADA.name, capability=(8, 9), platform="linux-x86_64"
)


def put(folder: Path, name: str, days: float = 0, what: EngineDescription | None = None) -> Path:
    """An engine that was last used so long ago."""
    path = make_private(folder) / f"{name}.engine"
    write_engine_file(path, ENGINE, what or description())
    used = time.time() - days * DAY_S
    os.utime(path, (used, used))
    return path


def names(paths: list[Path]) -> list[str]:
    return [path.name.removesuffix(".engine") for path in paths]


# --- names ---


def test_a_name_says_model_scale_precision_target_and_version() -> None:
    assert engine_name("edsr-small_x4_fp16", contract(), RTX) == (
        f"edsr-small_x4_fp16_sm86-sm120_rtx1.7.1.116_{RTX.digest()}.engine"
    )
    special = contract(scale=2, io="uint8", self_ensemble=True)
    assert engine_name("mine_x2_fp16_u8_plus", special, FULL) == (
        f"mine_x2_fp16_u8_plus_sm89_trt11.4.0_{FULL.digest()}.engine"
    )
    assert engine_name("_x4", contract(), RTX).startswith("model_x4_fp16_sm86")


@pytest.mark.parametrize(
    ("model", "stem"),
    [("my best; model*", "my-best-model-"), (".hidden", "hidden"), ("--force", "force"), ("ü", "model")],
)
def test_a_name_suits_a_shell_and_is_found_in_the_folder(model: str, stem: str) -> None:
    assert engine_name(model, contract(), RTX).startswith(f"{stem}_x4_fp16_")


def test_a_name_fits_into_a_folder_however_long_the_models_is(folder: Path) -> None:
    targets = ("SM75", "SM80", "SM86", "SM89", "SM120", "SM121")
    path = make_private(folder) / engine_name("n" * 250, contract(), dataclasses.replace(RTX, targets=targets))
    write_engine_file(path, ENGINE, description())
    with locked(path):
        assert find_intact(path) == description()


@pytest.mark.parametrize(
    "changes",
    [
        {"onnx_sha256": "ce" * 32},
        {"profile": dataclasses.replace(PROFILE, opt=Size(4, 256, 256))},
        {"flavour": "trt"},
        {"version": "1.7.1.117"},
        {"targets": ("SM86",)},
        {"gpu": "NVIDIA L4"},
        {"capability": (8, 9)},
        {"platform": "linux-aarch64"},
        {"flags": Flags(3, None)},
        {"flags": Flags(None, 1 << 30)},
    ],
)
def test_everything_that_changes_an_engine_changes_its_name(changes: dict[str, object]) -> None:
    assert dataclasses.replace(RTX, **changes).digest() != RTX.digest()  # type: ignore[arg-type]
    assert dataclasses.replace(RTX).digest() == RTX.digest()


# --- one builder at a time ---


def test_two_builders_take_turns_and_the_second_is_told(tmp_path: Path) -> None:
    order: list[str] = []
    engine = tmp_path / "new" / "a.engine"
    first_has_it, waiting = threading.Event(), threading.Event()

    def first() -> None:
        with locked(engine):
            first_has_it.set()
            waiting.wait(timeout=30)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    first_has_it.wait(timeout=30)
    with locked(engine, waiting.set):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_a_builder_that_has_waited_keeps_the_next_one_out(tmp_path: Path) -> None:
    """The lock it waited for was on a file that is gone by then."""
    order: list[str] = []
    engine = tmp_path / "a.engine"
    second_waits, third_waits, third_done = threading.Event(), threading.Event(), threading.Event()

    def second() -> None:
        with locked(engine, second_waits.set):
            thread = threading.Thread(target=third)
            thread.start()
            while not third_waits.is_set() and not third_done.is_set():
                third_waits.wait(0.05)
            order.append("second")
        thread.join()

    def third() -> None:
        with locked(engine, third_waits.set):
            order.append("third")
        third_done.set()

    thread = threading.Thread(target=second)
    with locked(engine):
        thread.start()
        second_waits.wait(timeout=30)
        order.append("first")
    thread.join()
    assert order == ["first", "second", "third"]


def test_another_engine_is_not_waited_for(tmp_path: Path) -> None:
    with locked(tmp_path / "a.engine"), locked(tmp_path / "b.engine", lambda: pytest.fail("waited")):
        pass
    assert list(tmp_path.glob("*.engine*")) == list(tmp_path.glob(".*.engine*")) == []  # locks leave nothing behind


def test_what_cannot_be_written_is_found_before_the_build(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EdsrError, match=r"a\.engine cannot be written \(.+\)"), locked(tmp_path / "file" / "a.engine"):
        pytest.fail("built")


def test_a_builder_that_was_killed_blocks_nobody(tmp_path: Path) -> None:
    engine = tmp_path / "engines" / "a.engine"
    code = (
        "import os, pathlib\nfrom edsr_runtime.trt.cache import locked\n"
        f"lock = locked(pathlib.Path({str(engine)!r})); lock.__enter__(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True)
    assert done.returncode == -9, done.stderr
    assert [path.name for path in engine.parent.iterdir()] == [".a.engine.lock"]
    with locked(engine, lambda: pytest.fail("waited")):
        pass


def test_two_commands_on_one_cache_build_once(folder: Path) -> None:
    path = make_private(folder) / "a.engine"
    code = f"""
import pathlib, time
from edsr_runtime.trt.cache import find_intact, locked
from edsr_runtime.trt.engine_file import write_engine_file
from engine_stand_ins import ENGINE, description
path = pathlib.Path({str(path)!r})
print("ready", flush=True)
input()
with locked(path):
    if find_intact(path) is None:
        time.sleep(0.3)
        write_engine_file(path, ENGINE, description())
        print("built")
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    commands = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        for _ in range(2)
    ]
    for command in commands:
        assert command.stdout is not None and command.stdout.readline() == "ready\n"
    for command in commands:
        assert command.stdin is not None
        command.stdin.write("go\n")
        command.stdin.flush()
    said = [command.communicate(timeout=60)[0] for command in commands]
    assert [command.returncode for command in commands] == [0, 0]
    assert sorted(said) == ["", "built\n"]
    assert find_intact(path) == description()


def test_many_builders_build_once(folder: Path) -> None:
    builds = []
    path = make_private(folder) / "a.engine"

    def build() -> None:
        with locked(path):
            if find_intact(path) is None:
                builds.append(path)
                write_engine_file(path, ENGINE, description())

    threads = [threading.Thread(target=build) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    assert names(list(folder.glob("*.engine"))) == ["a"]


# --- what is there ---


def test_engines_are_listed_the_last_used_one_first(folder: Path) -> None:
    assert entries() == []
    put(folder, "old", days=9)
    put(folder, "new")
    damaged = put(folder, "odd", days=5)
    sidecar(damaged).write_text("{")
    found = entries()
    assert names([entry.path for entry in found]) == ["new", "odd", "old"]
    assert [bool(entry.problem) for entry in found] == [False, True, False]
    assert found[0].size == len(ENGINE) + sidecar(found[0].path).stat().st_size


def test_damage_is_found_and_looking_for_it_is_no_use(folder: Path) -> None:
    put(folder, "good", days=7)
    put(folder, "bad").write_bytes(b"x")
    before = [(entry.path, entry.used) for entry in entries()]
    (found,) = cache.damaged()
    assert names([found.path]) == ["bad"] and "damaged or exchanged" in found.problem
    assert [(entry.path, entry.used) for entry in entries()] == before


def test_a_damaged_engine_is_not_taken(folder: Path) -> None:
    path = put(folder, "a")
    assert find_intact(path) == description()
    path.write_bytes(b"x")
    assert find_intact(path) is None
    assert find_intact(folder / "b.engine") is None


# --- what can go ---


def test_nothing_that_can_be_used_goes_unless_it_is_chosen(folder: Path) -> None:
    kept = put(folder, "a", days=900)
    lonely = folder / "b.engine.json"
    lonely.write_text("{}")
    undescribed = folder / "c.engine"
    undescribed.write_bytes(ENGINE)
    killed, running = folder / ".d.engine.x7", folder / ".e.engine.x8"
    for path in (killed, running):
        path.touch()
    os.utime(killed, (0, 0))
    chosen = prune(Pruning(), dry_run=True)
    assert sorted(chosen) == sorted([lonely, undescribed, killed])
    assert all(path.exists() for path in chosen)
    assert prune(Pruning()) == chosen
    assert sorted(folder.iterdir()) == sorted([kept, sidecar(kept), running])


@pytest.mark.parametrize(
    ("what", "gone"),
    [
        (Pruning(unused_days=10), ["old"]),
        (Pruning(unused_days=0.5), ["old", "rtx"]),
        (Pruning(versions=frozenset({("rtx", "1.7.1.116")})), ["full"]),
        (Pruning(versions=frozenset()), ["full", "old", "rtx"]),
        (Pruning(everything=True), ["full", "old", "rtx"]),
        (Pruning(max_bytes=0), ["full", "old", "rtx"]),
        (Pruning(max_bytes=10_000_000), []),
    ],
)
def test_what_is_chosen_goes_with_its_description(folder: Path, what: Pruning, gone: list[str]) -> None:
    put(folder, "old", days=30)
    put(folder, "rtx", days=1)
    put(folder, "full", what=full_description())
    assert sorted(names(prune(what))) == gone
    assert len(list(folder.iterdir())) == 2 * (3 - len(gone))


def test_kernels_that_were_compiled_for_an_engine_go_with_it(folder: Path) -> None:
    old, kept = put(folder, "a", days=30), put(folder, "a.b")
    for engine, letters in ((old, "old"), (kept, "kept")):
        (folder / f"{engine.name}.rtx-4090.jit").write_text(letters)
    lonely = folder / "gone.engine.rtx-4090.jit"
    lonely.touch()
    assert entries()[-1].size == len(ENGINE) + sidecar(old).stat().st_size + 3
    assert prune(Pruning(unused_days=10)) == [lonely, old]
    assert sorted(path.name for path in folder.iterdir()) == [
        "a.b.engine",
        "a.b.engine.json",
        "a.b.engine.rtx-4090.jit",
    ]


def test_the_least_used_go_until_the_others_are_within(folder: Path) -> None:
    put(folder, "old", days=30)
    put(folder, "mid", days=20)
    put(folder, "new", days=10)
    size = entries()[0].size
    assert names(prune(Pruning(max_bytes=2 * size))) == ["old"]
    assert names(prune(Pruning(max_bytes=2 * size - 1))) == ["mid"]
