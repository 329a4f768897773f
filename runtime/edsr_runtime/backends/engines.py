"""Which engine serves a model: one out of our folder, or one that is built now."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edsr_runtime.backends.base import Precision
from edsr_runtime.contract import Contract, read_contract
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError
from edsr_runtime.model_check import check_model
from edsr_runtime.trt.cache import Entry, entries
from edsr_runtime.trt.driver import cuda_driver
from edsr_runtime.trt.engine_file import SUFFIX, check, read_description
from edsr_runtime.trt.flavour import Flavour, Kind, load_flavour

_FP16 = "_fp16"  # what edsr-export adds to the name of such a file


@dataclass(frozen=True)
class Wish:
    """What an engine is to do."""

    contract: Contract
    """Of the model. An engine of another export of the same checkpoint serves it too."""
    precision: Precision | None
    """None: FP16 if there is one."""
    self_ensemble: bool


def find_engine(wish: Wish) -> Path | None:
    """The best engine in our folder that this machine can run; None if there is none for this model.

    Raises:
        EdsrError: there is one, but this machine cannot run it.
    """
    fitting = [entry for entry in entries() if _serves(entry, wish)]
    if not fitting:
        return None
    driver = cuda_driver()
    flavours: dict[Kind, Flavour] = {}
    reasons: list[EdsrError] = []
    for entry in sorted(fitting, key=_rank):
        description = entry.description
        assert description is not None
        try:
            if description.flavour not in flavours:
                flavours[description.flavour] = load_flavour(description.flavour)
            check(description, flavours[description.flavour], driver)
        except EdsrError as err:
            reasons.append(err)
        else:
            return entry.path
    raise reasons[0]


def build_engine_for(model: Path, wish: Wish, note: Callable[[str], None]) -> Path:
    """Build one of a model, with the profile that is usual; takes up to minutes.

    Args:
        model: ONNX file; where it is FP32, one in FP16 of the same checkpoint beside it is taken.
        wish: see there.
        note: takes sentences for the user.

    Raises:
        EdsrError: it cannot be built.
    """
    from edsr_runtime.trt.making import Order, make_engine

    precision = wish.precision or "fp16"
    if precision == "bf16":
        raise EnvironmentUnfitError("TensorRT engines compute in fp16 or fp32: use --precision auto or fp32")
    beside = model.with_name(f"{model.stem}{_FP16}.onnx")
    if (
        precision != wish.contract.precision
        and beside.is_file()
        and _network(read_contract(beside)) == _network(wish.contract)
    ):
        model = beside
    cuda_driver()  # engines can be built without one, but not run
    return make_engine(model, Order(precision=precision), note=note).path


def contract_of(path: Path) -> Contract:
    """Of an ONNX file, which is looked at as a whole, or of an engine, which is not read itself.

    Raises:
        ModelFileError: there is none, it is not ours, or it is none that we run.
    """
    if is_engine(path):
        return read_description(path).contract
    contract = read_contract(path)
    check_model(path)
    return contract


def is_engine(path: Path) -> bool:
    """By its name."""
    return path.suffix == SUFFIX


def _serves(entry: Entry, wish: Wish) -> bool:
    if entry.description is None or entry.problem:
        return False
    contract = entry.description.contract
    return (
        _network(contract) == _network(wish.contract)
        and contract.io == "float"  # what takes uint8 cannot show NaN, and takes no other pictures
        and (wish.precision is None or contract.precision == wish.precision)
        and (wish.self_ensemble or not contract.self_ensemble)
        and entry.description.profile.min.batch == 1
    )


def _rank(entry: Entry) -> tuple[bool, int]:
    """FP16 first, then the largest tile; among equals the last used one, as they come."""
    assert entry.description is not None
    largest = entry.description.profile.max
    return entry.description.contract.precision != "fp16", -min(largest.height, largest.width)


def _network(contract: Contract) -> tuple[str, int]:
    """What a model computes, however it is exported."""
    return contract.source_sha256, contract.scale
