"""Model files to measure: exported when first asked for, each once, into one folder."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from onnx import ModelProto
from torch import nn

from benchmarks.settings import Settings
from edsr_export.deploy import Deployed
from edsr_export.exporting import ExportOptions, export_checkpoint
from edsr_export.fold import Folded, fold
from edsr_export.tail import CollapsedTail
from edsr_export.to_onnx import _quiet, set_metadata, to_onnx
from edsr_runtime.contract import METADATA_KEY, read_contract
from edsr_train.architectures.registry import ARCHITECTURES
from edsr_train.checkpoint import save_checkpoint
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.models.edsr import EDSR
from edsr_train.models.linear_tail import RADIUS

_SEED = 0
_EXAMPLE_HW = (12, 14)  # any size will do


def build_network(architecture: str, config: Mapping[str, Any], scale: int) -> SuperResolutionNetwork | None:
    """A network with random weights, the same every time; None if the project has no such architecture.

    Args:
        architecture: as in ``edsr_train.architectures``.
        config: fields of its configuration, without the scale.
        scale: of a network for one scale; a network for several has them all.
    """
    known = next((each for each in ARCHITECTURES if each.name == architecture), None)
    if known is None:
        return None
    fields = {field.name for field in dataclasses.fields(known.config_type)}
    own_scale = {"scale": scale} if "scale" in fields else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        network = known.network_type(known.config_type(**own_scale, **config))
        for layer in network.modules():
            # As PyTorch begins: VDSR's own beginning gives values so far above white that FP32 cannot prove an export.
            if isinstance(layer, nn.Conv2d) and layer.weight.requires_grad:
                layer.reset_parameters()
            elif isinstance(layer, nn.PReLU):  # all begin alike, and PyTorch's exporter stores once what is alike
                nn.init.uniform_(layer.weight, 0.1, 0.4)
    return network.eval().requires_grad_(False)


def unfolded_model(network: SuperResolutionNetwork, scale: int) -> ModelProto:
    """One scale as ONNX, as it was trained: nothing is folded."""
    return to_onnx(network.branch(scale).eval(), uint8=False, min_side=1, scale=scale)


def model_as_trained(network: SuperResolutionNetwork, scale: int) -> ModelProto:
    """The same for counting alone, of networks too whose operators edsr-export would replace or refuse."""
    example = torch.zeros(2, 3, *_EXAMPLE_HW)
    dims: dict[int, Any] = {axis: torch.export.Dim(name) for axis, name in ((0, "batch"), (2, "height"), (3, "width"))}
    with _quiet():
        program = torch.onnx.export(
            network.branch(scale).eval(), (example,), dynamo=True, dynamic_shapes=(dims,), verbose=False
        )
    assert program is not None
    return program.model_proto


class Models:
    """EDSR with random weights, on which speed does not depend, in several forms; and checkpoints."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._settings = settings

    @property
    def description(self) -> str:
        """Of the random networks, for people."""
        size = (self._settings.n_resblocks, self._settings.n_feats)
        name = "EDSR-baseline" if size == (16, 64) else "EDSR"
        return f"{name} {size[0]}x{size[1]}, random weights"

    def network(self, scale: int) -> EDSR:
        """The unfolded network; the same weights every time."""
        network = build_network("edsr", self.config, scale)
        assert isinstance(network, EDSR)
        return network

    @property
    def config(self) -> dict[str, int]:
        """Of the networks, without the scale."""
        return {"n_resblocks": self._settings.n_resblocks, "n_feats": self._settings.n_feats}

    def unfolded(self, scale: int) -> Path:
        """The network as ONNX, as it was trained: what peers that read ONNX are given."""
        return self.unfolded_network(f"random_x{scale}", self.network(scale), scale)

    def unfolded_network(self, name: str, network: SuperResolutionNetwork, scale: int) -> Path:
        """The same of one scale of any network.

        Args:
            name: of the file; different networks have different ones.
            network: with its weights.
            scale: one of its scales.
        """
        path = self._folder / "unfolded" / f"{name}.onnx"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(unfolded_model(network, scale).SerializeToString())
        return path

    def exported(self, scale: int, *, collapse_tail: bool = True) -> Path:
        """What edsr-export writes, with or without ``--no-collapse``."""
        return self._export(self._checkpoint(scale), self._form_folder(collapse_tail), collapse_tail)

    def exported_fp16(self, scale: int) -> Path:
        """The same with ``--precision fp16``, which is for TensorRT."""
        return self._export(self._checkpoint(scale), self._form_folder(True), precision="fp16")

    def exported_network(self, name: str, network: SuperResolutionNetwork, scale: int) -> Path:
        """What edsr-export writes of one scale of any network."""
        folder = self._folder / "networks"
        path = folder / f"{name}_x{scale}.onnx"
        if not path.exists():
            folder.mkdir(exist_ok=True)
            checkpoint = folder / f"{name}.pt"
            save_checkpoint(checkpoint, network)
            export_checkpoint(checkpoint, path, ExportOptions(scales=(scale,)))
            checkpoint.unlink()
        return path

    def without_ring(self, scale: int) -> Path:
        """The collapsed graph with one zero-padded 5x5 convolution in place of the nine regions.

        It is wrong in the outermost ring of LR pixels, and serves to show what being right costs.
        """
        path = self._folder / "without_ring" / f"random_x{scale}.onnx"
        if not path.exists():
            exact = fold(self.network(scale).branch(scale), collapse_tail=True, mean_in_bias=True, range_shift=0)
            deployed = Deployed(plain_tail(exact), torch.float32)
            model = to_onnx(deployed, uint8=False, min_side=1, scale=scale)
            contract = read_contract(self.exported(scale))
            wrong = dataclasses.replace(contract, folds=(*contract.folds, "for a benchmark: border ring left wrong"))
            set_metadata(model, METADATA_KEY, wrong.to_json())
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(model.SerializeToString())
        return path

    def from_checkpoint(
        self,
        checkpoint: Path,
        res_scale: float | None,
        *,
        scale: int | None = None,
        collapse_tail: bool = True,
        precision: Literal["fp32", "fp16"] = "fp32",
    ) -> Path:
        """What edsr-export makes of a checkpoint.

        Args:
            checkpoint: of any network.
            res_scale: where the checkpoint does not tell its residual scaling.
            scale: which, of a network that has several.
            collapse_tail: or ``--no-collapse``.
            precision: as in ``ExportOptions``.
        """
        folder = self._form_folder(collapse_tail, "checkpoints")
        return self._export(checkpoint, folder, collapse_tail, res_scale, precision, scale)

    def _checkpoint(self, scale: int) -> Path:
        checkpoint = self._folder / f"random_x{scale}.pt"
        if not checkpoint.exists():
            save_checkpoint(checkpoint, self.network(scale))
        return checkpoint

    def _form_folder(self, collapse_tail: bool, *below: str) -> Path:
        return self._folder.joinpath(*below, "collapsed" if collapse_tail else "whole")

    def _export(
        self,
        checkpoint: Path,
        folder: Path,
        collapse_tail: bool = True,
        res_scale: float | None = None,
        precision: Literal["fp32", "fp16"] = "fp32",
        scale: int | None = None,
    ) -> Path:
        options = ExportOptions(scales=(scale,) if scale else (), collapse_tail=collapse_tail, precision=precision)
        path = folder / f"{checkpoint.stem}{f'_{scale}' if scale else ''}{options.suffix}.onnx"
        if not path.exists():
            export_checkpoint(checkpoint, path, options, res_scale=res_scale)
        return path


def plain_tail(folded: Folded) -> Folded:
    """The collapsed tail's inner convolution alone, zero padded to keep the size."""
    assert isinstance(folded.tail, CollapsedTail)
    inner = next(conv for vertical, horizontal, conv in folded.tail.regions() if vertical == horizontal == "inner")
    same = nn.Conv2d(inner.in_channels, inner.out_channels, 2 * RADIUS + 1, padding=RADIUS, dtype=inner.weight.dtype)
    same.load_state_dict(inner.state_dict())
    return dataclasses.replace(folded, tail=nn.Sequential(same, nn.PixelShuffle(folded.scale)))
