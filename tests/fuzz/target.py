"""One parser under atheris: ``target.py NAME [options of libFuzzer] [FOLDERS]``.

Every input must be read or end in one of our errors. Seeds are sound inputs; ``target.py NAME --seeds FOLDER`` writes
them.
"""

import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

OF_OURS = ["edsr_runtime", "edsr_train.strangers", "edsr_train.container"]
with atheris.instrument_imports(include=OF_OURS):  # pyright: ignore[reportAttributeAccessIssue]
    from edsr_runtime.contract import Contract, Parity
    from edsr_runtime.errors import EdsrError
    from edsr_runtime.job.journal import Row, open_journal
    from edsr_runtime.job.shard import Shard
    from edsr_runtime.model_check import check_model
    from edsr_runtime.pictures.exif import exif_dpi, exif_from_tiff, reset_orientation, resize_exif, split_exif
    from edsr_runtime.pictures.ifd import IfdError, IfdFile
    from edsr_runtime.pictures.metadata import sized_metadata, upright_metadata
    from edsr_runtime.pictures.picture import PictureMetadata
    from edsr_runtime.pictures.read import read_picture
    from edsr_runtime.protobuf import read_metadata
    from edsr_runtime.seal import sealed
    from edsr_runtime.trt.engine_file import EngineDescription, checksum
    from edsr_runtime.trt.profile import shapes_profile
    from edsr_runtime.zoo import model_path

    if "checkpoint" in sys.argv:  # PyTorch takes long
        from edsr_train.container import read_container
        from edsr_train.strangers import describe_stranger, describe_unknown

import corpus  # noqa: E402  (after what is instrumented)
import engine_stand_ins  # noqa: E402

OURS = (EdsrError, IfdError)
CONTRACT = Contract(
    architecture="edsr",
    scale=2,
    config={"n_resblocks": 1},
    n_feats=8,
    folds=("tail",),
    range_shift=0,
    mean=(114.0, 111.0, 103.0),
    io="float",
    receptive_radius=8,
    min_side=3,
    precision="fp32",
    self_ensemble=False,
    source_sha256="0" * 64,
    tool_version="1",
    parity=Parity(0.1, 0.01, ((1, 3, 8, 8),)),
)
_FOLDER = Path(tempfile.mkdtemp(prefix="edsr-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))


def _file(data: bytes) -> Path:
    path = _FOLDER / "input"
    path.write_bytes(data)
    return path


def contract(data: bytes) -> None:
    Contract.from_json(data.decode("utf-8", "replace"), "x")


def sidecar(data: bytes) -> None:
    """With a checksum that fits, or nothing would come behind it."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(text)
        if isinstance(found, dict):
            content = {key: value for key, value in found.items() if key not in ("schema", "sha256")}
            text = json.dumps(found | {"sha256": checksum(content)})
    EngineDescription.from_json(text, "x")


def shapes(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    parts = text.split("\n")
    shapes_profile(dict(zip(("min", "opt", "max"), parts, strict=False)), CONTRACT)


def shard(data: bytes) -> None:
    Shard.parse(data.decode("utf-8", "replace"))


def graph(data: bytes) -> None:
    check_model(_file(data))


def metadata(data: bytes) -> None:
    read_metadata(_file(data))


def exif(data: bytes) -> None:
    block, _ = reset_orientation(data)
    resize_exif(block, 7, 9)
    exif_dpi(block)
    split_exif(block)


def tiff_tags(data: bytes) -> None:
    exif_from_tiff(IfdFile.open(lambda offset, length: data[offset : offset + length]))


def upright(data: bytes) -> None:
    found, _, _ = upright_metadata(PictureMetadata(exif=data, xmp=data, icc=data), 3, None)
    sized_metadata(found, 10, 12)


def png(data: bytes) -> None:
    read_picture(_file(b"\x89PNG\r\n\x1a\n" + data), 1_000_000)


def checkpoint(data: bytes) -> None:
    describe_stranger(data[:1024])  # pyright: ignore[reportPossiblyUnbound]
    describe_unknown(data[:1024])  # pyright: ignore[reportPossiblyUnbound]
    read_container(_file(data))  # pyright: ignore[reportPossiblyUnbound]


def journal(data: bytes) -> None:
    path = _file(data)
    Path(f"{path}-journal").unlink(missing_ok=True)
    with open_journal(path) as opened:
        opened.rows()
        opened.tile("0" * 64)


def _seed_sidecar() -> list[bytes]:
    return [make().to_json().encode() for make in (engine_stand_ins.description, engine_stand_ins.full_description)]


def _seed_graph() -> list[bytes]:
    import numpy as np
    import onnx
    from onnx import helper

    weights = onnx.numpy_helper.from_array(np.ones((3, 3, 3, 3), np.float32), "w")
    sides = [1, 3, "h", "w"]
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sides) for name in ("input", "output")]
    node = helper.make_node("Conv", ["input", "w"], ["output"], pads=[1, 1, 1, 1])
    model = helper.make_model(helper.make_graph([node], "g", value[:1], value[1:], [weights]))
    helper.set_model_props(model, {"edsr_toolkit.contract": CONTRACT.to_json()})
    data = model.SerializeToString()
    return [data, sealed(data), model_path("edsr-small", 2).read_bytes()[:4096]]


def _seed_checkpoint() -> list[bytes]:
    import torch

    files = []
    for is_zip in (True, False):
        file = io.BytesIO()
        torch.save({"head.0.weight": torch.zeros(2, 3, 3, 3)}, file, _use_new_zipfile_serialization=is_zip)
        files.append(file.getvalue())
    return files


def _seed_journal() -> list[bytes]:
    path = _FOLDER / "seed"
    with open_journal(path) as opened:
        opened.keep_tile("0" * 64, 512)
        opened.begin([Row("a.png", "/a", "pending", False, "0" * 64)], "1", {})
    return [path.read_bytes()]


def _seed_exif() -> list[bytes]:
    from PIL import Image

    block = Image.Exif()
    block[0x0112], block[0x010E], block[0x011A] = 6, "what", 72.0
    return [block.tobytes(), block.tobytes()[6:]]


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "contract": (contract, lambda: [CONTRACT.to_json().encode()]),
    "sidecar": (sidecar, _seed_sidecar),
    "shapes": (shapes, lambda: [b"1x3x64x64\n1x3x256x256\n1x3x512x512", b"64x64"]),
    "shard": (shard, lambda: [b"3/8"]),
    "graph": (graph, _seed_graph),
    "metadata": (metadata, _seed_graph),
    "exif": (exif, _seed_exif),
    "tiff_tags": (tiff_tags, lambda: [data for name, data in corpus.corpus().items() if name.endswith(".tif")]),
    "upright": (upright, _seed_exif),
    "png": (png, lambda: [data[8:] for name, data in corpus.corpus().items() if name.endswith(".png")]),
    "checkpoint": (checkpoint, _seed_checkpoint),
    "journal": (journal, _seed_journal),
}


def main(words: list[str]) -> None:
    run, seeds = TARGETS[words[1]]
    if words[2:3] == ["--seeds"]:
        for number, data in enumerate(seeds()):
            Path(words[3], f"seed{number}").write_bytes(data)
        return

    def one_input(data: bytes) -> None:
        try:
            try:
                run(data)
            except OURS as err:
                assert "\n" not in str(err), err
        except BaseException:
            name = f"{words[1]}-{hashlib.sha256(data).hexdigest()[:16]}"
            Path(os.environ.get("EDSR_FINDINGS", "."), name).write_bytes(data)
            raise

    os.chdir(_FOLDER)
    atheris.Setup([words[0], *words[2:]], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
