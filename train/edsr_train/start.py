"""What a training run starts from: nothing, another network, or itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from edsr_runtime.errors import CheckpointError, CheckpointRefusedError, EdsrError, EnvironmentUnfitError
from edsr_train.checkpoint import LoadedNetwork, load_network
from edsr_train.config import DataConfig
from edsr_train.memory import machine_memory, memory_for
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.recipes import DEFAULT_RECIPE
from edsr_train.run_config import Asked, RunConfig, parse, read_base, section_of, with_asked
from edsr_train.run_folder import RunFolder

_ANY_SIZE = ("scale", "scales", "tail")  # of the network's fields, those that --init need not agree with
_BYTES_PER_PARAMETER = 16  # weight, gradient and Adam's two moments, float32


@dataclass(frozen=True)
class Order:
    """What a run was asked to be, on the command line."""

    asked: Mapping[str, Asked] = field(default_factory=dict)
    """By field of ``TrainConfig`` and ``DataConfig``; ``net.FIELD`` for those of the network."""
    config: str | None = None
    """Name of a recipe, or a YAML file; without it the sizes of ``init``, else the default recipe."""
    init: Path | None = None
    """A checkpoint whose weights are taken, part by part (head, body, ...): those that have the same tensors here."""
    init_res_scale: float | None = None
    """Residual scaling of ``init``, where the file does not store it."""


@dataclass(frozen=True)
class Run:
    """All that ``train`` needs but the pictures."""

    network: SuperResolutionNetwork
    config: RunConfig
    resume: Mapping[str, Any] | None = None
    """The training state of the checkpoint that the run goes on from."""
    notes: tuple[str, ...] = ()
    """Lines to print: what was taken from where."""
    init: Mapping[str, str] | None = None
    """``file`` and ``sha256`` of the weights that the run began with."""
    damaged: tuple[Path, ...] = ()
    """Checkpoints that could not be loaded, newer than the one that the run goes on from."""

    @property
    def done(self) -> int:
        """Updates done before this session."""
        return 0 if self.resume is None else int(self.resume["updates"])

    @property
    def due(self) -> bool:
        """Whether the validation after the last update is still to be done, or is not known to be done."""
        return self.resume is not None and self.resume.get("due") is not None

    @property
    def told(self) -> int:
        """The last update that the log has a line for: a validation that is due is told when it has been done."""
        return self.done - 1 if self.due else self.done

    def settled(self, psnr: Mapping[str, float] | None) -> "Run":
        """The same run where the log says that the validation which seemed due was done, and what it gave."""
        assert self.resume is not None
        best = float(self.resume["best"])
        if psnr:
            best = max(best, sum(psnr.values()) / len(psnr))
        return replace(self, resume={**self.resume, "due": None, "best": best})


def new_run(
    asked: Mapping[str, Asked],
    config: str | None = None,
    init: Path | None = None,
    init_res_scale: float | None = None,
) -> Run:
    """A run from update 0; the arguments are those of ``Order``.

    Raises:
        EdsrError: something that the configuration cannot be, sizes that contradict ``init``, or a network that is too
            large for this machine.
    """
    if init is None and init_res_scale is not None:
        raise EdsrError("--init-res-scale is of the file of --init, which is not given")
    start = None if init is None else _load_init(init, init_res_scale)
    base = read_base(config or DEFAULT_RECIPE)
    if start is not None and config is None:
        base["network"] = {"architecture": start.architecture, **vars(start.config)}
    described = parse(with_asked(base, asked), config or (DEFAULT_RECIPE if init is None else str(init)))
    _refuse_too_large(described)
    torch.manual_seed(described.training.seed)
    network: SuperResolutionNetwork = described.architecture.network_type(described.network)
    if start is None or init is None:
        return Run(network, described)
    _refuse_other_sizes(start, described, init)
    notes = (*start.notes, _take_weights(network, start.network, init))
    return Run(network, described, notes=notes, init={"file": init.name, "sha256": start.sha256})


def resumed_run(folder: RunFolder, asked: Mapping[str, Asked], config: str | None = None) -> Run:
    """The run that wrote ``folder``, where its last whole checkpoint was.

    Args:
        folder: of a run that has written a checkpoint.
        asked: as in ``Order``. Where the data lie and how they are validated may change; nothing else that would make
            it another run: ``log_every`` and ``validate_every`` may, and so may ``updates`` where the learning rate
            does not depend on it.
        config: as in ``Order``; must not contradict the run either.

    Raises:
        EdsrError: no training state in the file, an option that contradicts it, or a ``config.yaml`` that was changed.
    """
    loaded, newest, damaged, notes = _newest_whole(folder)
    state = loaded.extra.get("training")
    if (
        not isinstance(state, dict)
        or not isinstance(state.get("options"), dict)
        or type(state.get("updates")) is not int
    ):
        raise CheckpointError(f"{newest}: holds no training state. Begin a run from its weights with --init")
    # The file has the folders of the data, which a checkpoint that may be published does not name. All else is in both.
    written = read_base(str(folder.config_file))
    network = {"architecture": loaded.architecture, **vars(loaded.config)}
    # Fields that came later take their defaults, which change nothing.
    trained = parse({**written, "network": network, "training": dict(state["options"])}, str(newest))
    before = parse(written, str(folder.config_file))
    notes += _compare_file(folder.config_file, newest, before, trained)
    given = {} if config is None else _as_asked(config)
    now = parse(with_asked(written, {**given, **asked}), "the configuration")
    _refuse_changes(newest, trained, now, {**given, **asked})
    done = state["updates"]
    if now.training.updates < done:
        raise EdsrError(f"{newest}: has done {done} updates already, more than --updates {now.training.updates}")
    notes += (*loaded.notes, f"resumed: {newest} at update {done} of {now.training.updates}")
    return Run(loaded.network, now, state, notes, state.get("init"), damaged)


def _newest_whole(folder: RunFolder) -> tuple[LoadedNetwork, Path, tuple[Path, ...], tuple[str, ...]]:
    """The newest checkpoint that can be loaded, its file, those that cannot, and what is to be said of these."""
    damaged: list[Path] = []
    notes: list[str] = []
    first_error: CheckpointError | None = None
    for file in reversed(folder.checkpoints()):
        try:
            return load_network(file), file, tuple(damaged), tuple(notes)
        except CheckpointRefusedError:
            raise  # which would lose updates, where only permissions or the program are wrong
        except CheckpointError as err:
            damaged.append(file)
            notes.append(f"{err}. Going on from the checkpoint before it")
            first_error = first_error or err
    assert first_error is not None  # or there are no checkpoints, which was checked
    raise first_error


def describe(run: Run) -> str:
    """One line on the network of a run."""
    parameters = sum(p.numel() for p in run.network.parameters() if p.requires_grad)
    scaling = getattr(run.config.network, "res_scale", 1.0)
    scaled = f", residual scaling {scaling:g}" if scaling != 1 else ""
    return f"{run.config.architecture.describe(run.config.network)}{scaled}, {parameters:,} parameters"


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


def _refuse_too_large(described: RunConfig) -> None:
    what = described.architecture.describe(described.network)
    with memory_for(what, "Choose a smaller network"), torch.device("meta"):  # sizes without memory
        network = described.architecture.network_type(described.network)
    needed = _BYTES_PER_PARAMETER * sum(p.numel() for p in network.parameters())
    if needed > machine_memory():
        raise EnvironmentUnfitError(
            f"{what}: weights, gradients and Adam's moments need {needed / 1e9:.0f} GB, and this machine has "
            f"{machine_memory() / 1e9:.0f}. Choose a smaller network"
        )


def _as_asked(config: str) -> dict[str, Asked]:
    """What a recipe or a file says, as if each value of it had been given."""
    base = read_base(config)
    option = f"--config {config}"
    network = {f"net.{name}": Asked(option, value) for name, value in base["network"].items()}
    return network | {
        name: Asked(option, value) for section in ("training", "data") for name, value in base[section].items()
    }


def _free(before: RunConfig) -> set[str]:
    """Fields that may change in the course of a run."""
    # The pictures themselves are compared when they have been found, with those that the checkpoint knows.
    free = {*DataConfig.__dataclass_fields__, "log_every", "validate_every"}
    return free | ({"updates"} if before.training.schedule == "halving" else set())


def _compare_file(file: Path, newest: Path, written: RunConfig, trained: RunConfig) -> tuple[str, ...]:
    """Lines on what may differ; EdsrError if anything else was changed in the file since the run began."""
    was, now = trained.to_plain(), written.to_plain()
    differing = [
        (name, f"{name} is {now[section].get(name)} there and {was[section].get(name)} in {newest.name}")
        for section in ("network", "training")
        for name in was[section] | now[section]
        if was[section].get(name) != now[section].get(name)
    ]
    free = _free(trained)
    if fixed := [text for name, text in differing if name not in free]:
        raise EdsrError(
            f"{file}: was changed since the run began: {'; '.join(fixed)}. Put it back, or begin a new run with --init"
        )
    return tuple(f"{file}: {text}, which is taken" for _, text in differing)


def _refuse_changes(path: Path, before: RunConfig, now: RunConfig, asked: Mapping[str, Asked]) -> None:
    free = _free(before)
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
