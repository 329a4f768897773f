"""Engine files: both or none, described completely, and refused before TensorRT could see them."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, ModelFileError
from edsr_runtime.trt import engine_file
from edsr_runtime.trt.engine_file import (
    EngineDescription,
    Flags,
    check,
    open_engine_file,
    read_description,
    sidecar,
    write_engine_file,
)
from edsr_runtime.trt.folder import is_ours, make_private
from edsr_runtime.trt.profile import Profile, Size
from engine_stand_ins import ADA, ENGINE, contract, description, driver, flavour, full_description, with_capability


@pytest.fixture
def engine(folder: Path) -> Path:
    """Written where ours are kept."""
    path = make_private(folder) / "a.engine"
    write_engine_file(path, ENGINE, description())
    return path


# --- written and read ---


@pytest.mark.parametrize("written", [description(), full_description(flags=Flags(5, 1 << 30))], ids=["rtx", "trt"])
def test_a_description_comes_back_as_it_was_written(written: EngineDescription) -> None:
    assert EngineDescription.from_json(written.to_json(), "it") == written


def test_an_engine_of_ours_is_opened_with_its_description(engine: Path) -> None:
    assert open_engine_file(engine) == (ENGINE, description())
    assert sorted(path.name for path in engine.parent.iterdir()) == ["a.engine", "a.engine.json"]
    assert engine.stat().st_mode & 0o077 == 0


def test_opening_an_engine_of_ours_says_that_it_is_used(engine: Path) -> None:
    os.utime(engine, (0, 0))
    open_engine_file(engine)
    assert engine.stat().st_mtime > 0


@pytest.mark.parametrize("failing", [0, 1, 2, 3])
def test_both_files_are_written_or_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failing: int, engine: Path
) -> None:
    """Whichever of the steps fails: two files written, two renamed."""
    steps = iter(range(4))

    def fail(step: Any) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if next(steps) == failing:
                raise OSError(28, "No space left on device")
            return step(*arguments, **options)

        return wrapped

    new = folder / "b.engine"
    monkeypatch.setattr(engine_file, "_beside", fail(engine_file._beside))
    monkeypatch.setattr(Path, "replace", fail(Path.replace))
    with pytest.raises(EdsrError, match=r"b\.engine cannot be written \(No space left on device\)"):
        write_engine_file(new, ENGINE, description())
    assert sorted(path.name for path in folder.iterdir()) == ["a.engine", "a.engine.json"]


def test_an_old_description_never_describes_a_new_engine(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Path, target: Path) -> Path:
        if target == sidecar(engine):
            assert not sidecar(engine).exists()
            raise KeyboardInterrupt
        os.replace(self, target)
        return target

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_engine_file(engine, ENGINE, description())
    assert list(engine.parent.iterdir()) == []


# --- what is refused before anything is loaded ---


def test_an_engine_from_elsewhere_needs_somebody_who_vouches_for_it(tmp_path: Path) -> None:
    path = tmp_path / "stranger.engine"
    write_engine_file(path, ENGINE, description())
    with pytest.raises(
        ModelFileError, match=r"an engine is code that would be run, and this one lies outside.*--trust-"
    ):
        open_engine_file(path)
    assert open_engine_file(path, trust=True)[0] == ENGINE


def test_a_link_out_of_our_folder_is_not_ours(engine: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.engine"
    write_engine_file(stranger, ENGINE, description())
    engine.unlink()
    engine.symlink_to(stranger)
    with pytest.raises(ModelFileError, match="lies outside the folder"):
        open_engine_file(engine)


def test_a_folder_that_others_can_write_to_is_not_ours(engine: Path) -> None:
    assert is_ours(engine)
    engine.parent.chmod(0o770)
    assert not is_ours(engine)
    with pytest.raises(ModelFileError, match=r"this one lies in a folder that others can write to\. If you know"):
        open_engine_file(engine)
    make_private(engine.parent)
    assert engine.parent.stat().st_mode & 0o777 == 0o700
    assert is_ours(engine)


def test_what_others_put_there_while_they_could_is_not_ours(engine: Path) -> None:
    """Since then the folder may have been made private."""
    engine.chmod(0o666)
    with pytest.raises(ModelFileError, match=r"this one is a file that others can write to\. If you know"):
        open_engine_file(engine)
    assert open_engine_file(engine, trust=True)[0] == ENGINE
    if os.getuid() == 0:  # nobody else can give files away
        engine.chmod(0o600)
        os.chown(engine, 12345, -1)
        with pytest.raises(ModelFileError, match=r"this one is a file that belongs to another user \(id 12345\)"):
            open_engine_file(engine)


def test_a_folder_of_somebody_else_is_refused(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert not is_ours(engine)
    with pytest.raises(EnvironmentUnfitError, match=f"belongs to another user .id {owner}., who could put code there"):
        make_private(engine.parent)


@pytest.mark.parametrize("trust", [False, True])
def test_bytes_that_were_not_described_are_refused(engine: Path, trust: bool) -> None:
    engine.write_bytes(ENGINE[:-1])
    with pytest.raises(ModelFileError, match=r"its SHA-256 is \w{12}\.\.\., but a\.engine\.json says.*--force"):
        open_engine_file(engine, trust)


def test_an_engine_without_description_is_refused(engine: Path) -> None:
    sidecar(engine).unlink()
    with pytest.raises(ModelFileError, match=r"there is no a\.engine\.json beside it"):
        open_engine_file(engine, trust=True)
    with pytest.raises(ModelFileError, match="no such engine"):
        read_description(engine.with_name("b.engine"))


def changed(path: tuple[str, ...], value: Any) -> str:
    """By somebody who makes the checksum fit."""
    data = json.loads(description().to_json())
    inner = data
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return summed(data)


def summed(data: dict[str, Any]) -> str:
    content = {key: value for key, value in data.items() if key not in ("schema", "sha256")}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps(data | {"sha256": digest})


def test_a_description_that_was_changed_by_a_flipped_bit_is_refused() -> None:
    text = description().to_json()
    radius = f'"receptive_radius": {description().contract.receptive_radius}'
    assert radius in text
    with pytest.raises(ModelFileError, match="its checksum is not that of what is in it"):
        EngineDescription.from_json(text.replace(radius, '"receptive_radius": 1'), "it")
    with pytest.raises(ModelFileError, match="its checksum is not"):
        EngineDescription.from_json(text.replace('"sha256"', '"sha257"', 1), "it")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not of schema 2"),
        (changed(("schema",), 1), "not of schema 2"),
        (changed(("profile", "max"), [1, 2]), r"it, profile, max: expected the fields batch, height, width"),
        (changed(("profile", "max"), [1, 2, "3"]), r"it, profile, max, width: '3' is not int"),
        (changed(("memory", "activations"), 1.5), "it, memory, activations: 1.5 is not int"),
        (changed(("flavour",), "cuda"), "it, flavour: 'cuda' is not"),
        (changed(("targets",), "SM86"), "it, targets: 'SM86' is not tuple"),
        (changed(("precision", "kernels"), {"half": True}), "it, precision, kernels: True is not int"),
        (changed(("contract", "scale"), 99), "its contract says scale = 99"),
        (changed(("extra",), 1), "expected the fields contract, onnx"),
        (changed(("build_seconds",), "1"), "build_seconds: '1' is not float"),
    ],
)
def test_a_description_of_another_form_is_refused(text: str, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        EngineDescription.from_json(text, "it")


# --- whether it can run here ---


def test_an_engine_runs_where_it_was_built_for() -> None:
    check(description(), flavour(), driver(ADA))  # 8.9 runs what was built for 8.6
    check(full_description(), flavour("trt", "11.4.0"), driver(ADA))
    check(full_description(), flavour("trt", "11.4.0"), driver(with_capability(ADA, 8, 6), ADA), device=1)


@pytest.mark.parametrize(
    ("engine", "here", "gpu", "message"),
    [
        (description(), flavour("trt", "11.4.0"), ADA, "another flavour: TensorRT-RTX, and here is TensorRT"),
        (description(), flavour("rtx", "1.7.2.1"), ADA, "version of TensorRT-RTX: 1.7.1.116, and here is 1.7.2.1"),
        (description(), flavour(), with_capability(ADA, 8, 0), "compute capability: SM86, SM120, and here is SM80"),
        (description(), flavour(), with_capability(ADA, 9, 0), "compute capability: SM86, SM120, and here is SM90"),
        (
            full_description(capability=(8, 6)),
            flavour("trt", "11.4.0"),
            ADA,
            "compute capability: 8.6, and here is 8.9",
        ),
        (
            full_description(gpu="NVIDIA L4"),
            flavour("trt", "11.4.0"),
            ADA,
            "GPU: NVIDIA L4, and here is NVIDIA GeForce RTX 4090",
        ),
        (full_description(platform="windows-x86_64"), flavour("trt", "11.4.0"), ADA, "platform: windows-x86_64"),
        (full_description(), flavour("trt", "11.4.1"), ADA, "version of TensorRT: 11.4.0, and here is 11.4.1"),
    ],
)
def test_what_differs_is_named_with_the_command_that_mends_it(
    engine: EngineDescription, here: Any, gpu: Any, message: str
) -> None:
    with pytest.raises(EnvironmentUnfitError) as refused:
        check(engine, here, driver(gpu))
    assert message in str(refused.value)
    command = f"Build one for this machine with: edsr-trt build model_x4_fp16.onnx --flavour {here.kind} --minShapes="
    assert command in str(refused.value)


def test_the_command_makes_the_same_engine() -> None:
    made = description(
        contract=contract(io="uint8", precision="fp32"),
        profile=Profile(Size(1, 3, 4), Size(2, 64, 96), Size(8, 128, 128)),
        flags=Flags(4, 1000),
        onnx="my model.onnx",
    )
    assert made.rebuild_command() == (
        "edsr-trt build 'my model.onnx' --flavour rtx --minShapes=input:1x3x4x3 --optShapes=input:2x64x96x3 "
        "--maxShapes=input:8x128x128x3 --precision fp32 --opt-level 4 --workspace 1000B"
    )


def test_the_engine_of_a_description_is_the_one_that_was_hashed(folder: Path) -> None:
    with pytest.raises(AssertionError):
        write_engine_file(folder / "a.engine", b"other", dataclasses.replace(description()))
