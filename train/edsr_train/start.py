"""What a training run starts from: nothing, another network, or itself."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from edsr_runtime.errors import CheckpointError, EdsrError, EnvironmentUnfitError
from edsr_train.checkpoint import LoadedNetwork, load_network
from edsr_train.config import DataConfig, TrainConfig
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.recipes import DEFAULT_RECIPE
from edsr_train.run_config import Asked, RunConfig, parse, read_base, section_of, with_asked
from edsr_train.run_folder import RunFolder

_ANY_SIZE = ("scale", "scales", "tail")  # of the network's fields, those that --init need not agree with


@dataclass(frozen=True)
class Run:
    """All that ``train`` needs but the pictures."""

    network: SuperResolutionNetwork
    config: RunConfig
    resume: Mapping[str, Any] | None = None
    """The training state of the checkpoint that the run goes on from."""
    notes: tuple[str, ...] = ()
    """Lines to print: what was taken from where."""

    @property
    def done(self) -> int:
        """Updates done before this session."""
        return 0 if self.resume is None else int(self.resume["updates"])


def new_run(
    asked: Mapping[str, Asked],
    config: str | None = None,
    init: Path | None = None,
    init_res_scale: float | None = None,
) -> Run:
    """A run from update 0.

    Args:
        asked: by field of ``TrainConfig`` and ``DataConfig``, ``net.FIELD`` for those of the network.
        config: name of a recipe, or a YAML file; without it the sizes of ``init``, else the default recipe.
        init: a checkpoint whose weights are taken, part by part (head, body, ...): those parts that have the same
            tensors here.
        init_res_scale: residual scaling of ``init``, where the file does not store it.

    Raises:
        EdsrError: something that the configuration cannot be, or sizes that contradict ``init``.
    """
    start = None if init is None else _load_init(init, init_res_scale)
    base = read_base(config or DEFAULT_RECIPE)
    if start is not None and config is None:
        base["network"] = {"architecture": start.architecture, **vars(start.config)}
    described = parse(with_asked(base, asked), config or DEFAULT_RECIPE)
    check_compiler(described.training)
    torch.manual_seed(described.training.seed)
    network: SuperResolutionNetwork = described.architecture.network_type(described.network)
    notes: tuple[str, ...] = ()
    if start is not None and init is not None:
        _refuse_other_sizes(start, described, init)
        notes = (*start.notes, _take_weights(network, start.network, init))
    return Run(network, described, notes=notes)


def resumed_run(folder: RunFolder, asked: Mapping[str, Asked]) -> Run:
    """The run that wrote ``folder``, where its last checkpoint was.

    Args:
        folder: of a run that has written a checkpoint.
        asked: as in ``new_run``. Where the data lie may change; nothing else that would make it another run:
            ``log_every`` and ``validate_every`` may, and so may ``updates`` where the learning rate does not depend
            on it.

    Raises:
        EdsrError: no training state in the file, or an option that contradicts it.
    """
    newest = folder.checkpoints()[-1]
    loaded = load_network(newest)
    state = loaded.extra.get("training")
    if (
        not isinstance(state, dict)
        or not isinstance(state.get("options"), dict)
        or type(state.get("updates")) is not int
    ):
        raise CheckpointError(f"{newest}: holds no training state. Begin a run from its weights with --init")
    stored = read_base(str(folder.config_file))
    # The checkpoint is what the weights were trained with; the file beside it has the folders of the data, which a
    # checkpoint that may be published does not name. Fields that came later take their defaults, which change nothing.
    stored["network"] = {"architecture": loaded.architecture, **vars(loaded.config)}
    stored["training"] = dict(state["options"])
    before = parse(stored, str(folder.config_file))
    now = parse(with_asked(stored, asked), "the configuration")
    _refuse_changes(newest, before, now, asked)
    done = state["updates"]
    if now.training.updates < done:
        raise EdsrError(f"{newest}: has done {done} updates already, more than --updates {now.training.updates}")
    check_compiler(now.training)
    notes = (*loaded.notes, f"resumed: {newest} at update {done} of {now.training.updates}")
    return Run(loaded.network, now, state, notes)


def describe(run: Run) -> str:
    """One line on the network of a run."""
    parameters = sum(p.numel() for p in run.network.parameters() if p.requires_grad)
    scaling = getattr(run.config.network, "res_scale", 1.0)
    scaled = f", residual scaling {scaling:g}" if scaling != 1 else ""
    return f"{run.config.architecture.describe(run.config.network)}{scaled}, {parameters:,} parameters"


def check_compiler(config: TrainConfig) -> None:
    """Refuse ``compile`` where there is nothing to compile with; EnvironmentUnfitError."""
    compilers = (os.environ.get("CXX"), "g++", "clang++")
    if config.compile and not any(shutil.which(name) for name in compilers if name):
        raise EnvironmentUnfitError("--compile needs a C++ compiler, and there is none. Install g++, or leave it away")


def _load_init(init: Path, res_scale: float | None) -> LoadedNetwork:
    try:
        return load_network(init, res_scale=res_scale)
    except CheckpointError as err:
        raise CheckpointError(str(err).replace("--res-scale", "--init-res-scale")) from err


def _take_weights(network: SuperResolutionNetwork, source: SuperResolutionNetwork, path: Path) -> str:
    """Copy the parts that have the same tensors in both; the line that says which."""
    own, other = _by_part(network), _by_part(source)
    taken = [part for part in own if part in other and _shapes(own[part]) == _shapes(other[part])]
    fresh = [part for part in own if part not in taken]
    if not any(part in taken for part in own if _has_weights(network, part)):
        raise EdsrError(f"{path}: none of its parts ({', '.join(other)}) fits this network ({', '.join(own)})")
    network.load_state_dict({**network.state_dict(), **{k: v for part in taken for k, v in other[part].items()}})
    line = f"taken from {path}: {', '.join(taken)}"
    return f"{line}; fresh: {', '.join(fresh)}" if fresh else f"{line} (everything)"


def _by_part(network: SuperResolutionNetwork) -> dict[str, dict[str, torch.Tensor]]:
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in network.state_dict().items():
        parts.setdefault(key.partition(".")[0], {})[key] = value
    return parts


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in tensors.items()}


def _has_weights(network: SuperResolutionNetwork, part: str) -> bool:
    return any(p.requires_grad for p in network.get_submodule(part).parameters())


def _refuse_other_sizes(start: LoadedNetwork, described: RunConfig, init: Path) -> None:
    for name, there in vars(start.config).items():
        here = getattr(described.network, name, there)
        if name not in _ANY_SIZE and here != there:
            raise EdsrError(
                f"{init}: {name} is {there} there and {here} here. Leave --config and --net {name} away to take "
                "the sizes of the file"
            )


def _refuse_changes(path: Path, before: RunConfig, now: RunConfig, asked: Mapping[str, Asked]) -> None:
    free = {*DataConfig.__dataclass_fields__.keys() - {"protocol"}, "log_every", "validate_every"}
    free |= {"updates"} if before.training.schedule == "halving" else set()
    was, wanted = before.to_plain(), now.to_plain()
    for name, (option, _) in asked.items():
        section, key = section_of(name)
        if key not in free and was[section].get(key) != wanted[section].get(key):
            raise EdsrError(
                f"{path}: {key} is {was[section].get(key)} there, which {option} contradicts. Leave it away, or begin "
                "a new run with --init"
            )


def absolute(run: Run) -> Run:
    """The same run for another working directory: what ``config.yaml`` should say."""
    return replace(run, config=replace(run.config, data=run.config.data.with_absolute_paths()))
