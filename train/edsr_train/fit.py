"""What a training run starts from: nothing, another network, or itself."""

import dataclasses
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from edsr_runtime.errors import CheckpointError, DataError, EdsrError, EnvironmentUnfitError
from edsr_train.architectures.edsr import EDSR_CHECKPOINTS
from edsr_train.checkpoint import LoadedNetwork, load_network
from edsr_train.config import TrainConfig
from edsr_train.models import EDSR, EDSRConfig
from edsr_train.plain import config_from_plain
from edsr_train.presets import PRESETS

DEFAULT_NETWORK = "edsr-baseline"
_SUFFIXES = (".pt", ".pth")
_NETWORK_FIELDS = {field.name for field in dataclasses.fields(EDSRConfig)}
_TRAIN_FIELDS = {field.name for field in dataclasses.fields(TrainConfig)}


class Asked(NamedTuple):
    """A value that the user gave."""

    option: str
    """As it was typed: "--lr 0.001", "--network edsr"."""
    value: Any


@dataclass(frozen=True)
class Run:
    """All that ``train`` needs but the pictures."""

    network: EDSR
    config: TrainConfig
    resume: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    """Lines to print: what was taken from where."""

    @property
    def done(self) -> int:
        """Updates done before this session."""
        return 0 if self.resume is None else int(self.resume["updates"])


def check_output(output: Path, *, resume: bool, overwrite: bool) -> None:
    """Before anything is read: can this file become the checkpoint?

    Raises:
        EdsrError: wrong suffix, no folder, or a file that must not be replaced.
    """
    if output.suffix.lower() not in _SUFFIXES:
        raise EdsrError(f"{output}: a checkpoint that can be resumed ends in {' or '.join(_SUFFIXES)}")
    if resume and overwrite:
        raise EdsrError("--resume goes on from the file and --overwrite replaces it: give one of them")
    if resume:
        if not output.is_file():
            raise EdsrError(f"{output}: there is no such file to go on from. Leave --resume away to begin a new run")
    elif output.exists() and not overwrite:
        raise EdsrError(f"{output}: exists already. Go on from it with --resume, or replace it with --overwrite")
    if not os.access(output.absolute().parent, os.W_OK):
        raise EdsrError(f"{output}: its folder does not exist or cannot be written to")


def new_run(asked: Mapping[str, Asked], init: Path | None = None) -> Run:
    """A run from update 0.

    Args:
        asked: by field of ``EDSRConfig`` and ``TrainConfig``, and ``network`` for the name of a preset; defaults for
            all but the scale.
        init: a checkpoint whose sizes and weights are taken; its tail only if scale and form are the same.

    Raises:
        EdsrError: no scale, or an option that contradicts ``init``.
    """
    if "scale" not in asked:
        raise EdsrError("--scale is missing: give 2, 3 or 4")
    config = TrainConfig(**_values(asked, _TRAIN_FIELDS))
    check_compiler(config)
    torch.manual_seed(config.seed)
    sizes = _with_preset(asked)
    if init is None:
        default = {} if "network" in asked else asdict(PRESETS[DEFAULT_NETWORK])
        return Run(EDSR(EDSRConfig(**{**default, **_values(sizes, _NETWORK_FIELDS)})), config)
    loaded = _load_edsr(init, asked["res_scale"].value if "res_scale" in asked else None)
    start = cast(EDSRConfig, loaded.config)
    for name in ("n_resblocks", "n_feats", "res_scale"):
        _refuse_contradiction(init, sizes, name, getattr(start, name), "Leave it away")
    network = EDSR(replace(start, **_values(sizes, {"scale", "tail"})))
    return Run(network, config, notes=(*loaded.notes, _take_weights(network, loaded.network, start, init)))


def resumed_run(output: Path, asked: Mapping[str, Asked]) -> Run:
    """The run that wrote ``output``, where it was.

    Args:
        output: a checkpoint that ``train`` wrote.
        asked: as in ``new_run``. Nothing that would make it another run; ``validate_every`` may change, and so may
            ``updates`` where the learning rate does not depend on it.

    Raises:
        EdsrError: no training state in the file, or an option that contradicts it.
    """
    loaded = _load_edsr(output, None)
    state = loaded.extra.get("training")
    if not isinstance(state, dict):
        raise CheckpointError(f"{output}: holds a network but no training state. Begin a run from it with --init")
    stored_options, done = state.get("options"), state.get("updates")
    if not isinstance(stored_options, dict) or type(done) is not int:
        raise CheckpointError(f"{output}: its training state is damaged. Begin a run from it with --init")
    try:
        # A file of an older version lacks the options that came later; their defaults change nothing.
        config = cast(TrainConfig, config_from_plain(TrainConfig, {**asdict(TrainConfig()), **stored_options}))
    except CheckpointError as err:
        raise CheckpointError(f"{output}: its training options cannot be read: {err}") from err
    free = {"validate_every"} | ({"updates"} if config.schedule == "halving" else set())
    sizes = _with_preset(asked)
    for stored in (loaded.config, config):
        for name, value in vars(stored).items():
            if name not in free:
                _refuse_contradiction(output, sizes, name, value, "Leave it away, or begin a new run with --init")
    config = replace(config, **_values(asked, free))
    if config.updates < done:
        raise EdsrError(f"{output}: has done {done} updates already, more than --updates {config.updates}")
    check_compiler(config)
    notes = [*loaded.notes, f"resumed: {output} at update {done} of {config.updates}"]
    if "data" not in state:
        notes.append("data: the file does not say which pictures it was trained on; these are taken to be the same")
    return Run(cast(EDSR, loaded.network), config, state, tuple(notes))


def describe(network: EDSR) -> str:
    """One line on a network."""
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    res_scale = network.config.res_scale
    return f"{EDSR_CHECKPOINTS.describe(network.config)}, residual scaling {res_scale:g}, {parameters:,} parameters"


def check_compiler(config: TrainConfig) -> None:
    """Refuse ``compile`` where there is nothing to compile with; EnvironmentUnfitError."""
    compilers = (os.environ.get("CXX"), "g++", "clang++")
    if config.compile and not any(shutil.which(name) for name in compilers if name):
        raise EnvironmentUnfitError("--compile needs a C++ compiler, and there is none. Install g++, or leave it away")


def _load_edsr(path: Path, res_scale: float | None) -> LoadedNetwork:
    loaded = load_network(path, res_scale=res_scale)
    if not isinstance(loaded.network, EDSR):
        raise DataError(f"{path}: holds a network of the kind {loaded.architecture}, expected edsr")
    return loaded


def _take_weights(network: EDSR, source: torch.nn.Module, start: EDSRConfig, path: Path) -> str:
    """Copy what fits from ``source``; the line that says what."""
    is_same_tail = (start.scale, start.tail) == (network.config.scale, network.config.tail)
    taken = {k: v for k, v in source.state_dict().items() if is_same_tail or not k.startswith("tail.")}
    network.load_state_dict({**network.state_dict(), **taken})
    parts = list(dict.fromkeys(key.partition(".")[0] for key in taken))
    if is_same_tail:
        return f"taken from {path}: everything ({', '.join(parts)})"
    there, here = f"x{start.scale} {start.tail}", f"x{network.config.scale} {network.config.tail}"
    return f"taken from {path}: {', '.join(parts)}; fresh: tail ({there} there, {here} here)"


def _with_preset(asked: Mapping[str, Asked]) -> dict[str, Asked]:
    """``asked`` with the fields of the preset it names, where they are not given one by one."""
    if "network" not in asked:
        return dict(asked)
    option, name = asked["network"]
    return {**{field: Asked(option, value) for field, value in asdict(PRESETS[name]).items()}, **asked}


def _values(asked: Mapping[str, Asked], names: set[str]) -> dict[str, Any]:
    return {name: asked[name].value for name in names if name in asked}


def _refuse_contradiction(path: Path, asked: Mapping[str, Asked], name: str, stored: Any, advice: str) -> None:
    if name in asked and asked[name].value != stored:
        raise EdsrError(f"{path}: {name} is {stored} there, which {asked[name].option} contradicts. {advice}")
