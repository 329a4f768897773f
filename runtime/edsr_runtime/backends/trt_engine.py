"""A TensorRT or TensorRT-RTX engine, as the runner wants it.

TensorRT answers with None, False or a number that makes no sense, and says why in its log only: every answer is looked
at here. The driver must have been looked at before (``trt.driver``), because without one TensorRT ends the process.

TensorRT's objects are named by attributes only, never by a local variable of a function that may raise: an error keeps
the variables of all functions that it went through, and what they hold would outlive the device's context.
"""

import contextlib
import re
import threading
from pathlib import Path
from typing import Any, Literal

from edsr_runtime.contract import Contract
from edsr_runtime.cuda.device import DeviceError, DeviceMemoryError
from edsr_runtime.cuda.engine import EngineError
from edsr_runtime.trt.flavour import Flavour, Log
from edsr_runtime.trt.profile import Profile, Size
from edsr_runtime.trt.whole_file import write_whole

_OUT_OF_MEMORY = re.compile(r"out ?of ?memory|cudaErrorMemoryAllocation", re.IGNORECASE)


class TrtEngine:
    """See ``Engine``."""

    def __init__(self, flavour: Flavour, plan: bytes, contract: Contract, jit_cache: Path | None = None) -> None:
        """Load an engine whose description fits this machine; the device's context must be current.

        Args:
            flavour: the TensorRT that built it.
            plan: the engine.
            contract: from its description.
            jit_cache: TensorRT-RTX: a file to keep the kernels in that it compiles while it runs. It is code, so it
                must be where only we can write.

        Raises:
            DeviceMemoryError: it does not fit into the GPU's memory.
            EngineError: TensorRT does not take it, or it is not what its description says.
        """
        self._flavour = flavour
        self._trt = flavour.trt
        self._heard = _Heard()
        self._logger = flavour.logger(self._heard)
        self._making = threading.Lock()
        self._jit_cache = jit_cache if flavour.kind == "rtx" else None
        self._jit: Any = None
        self._config: Any = None
        self.scale = contract.scale
        self.supports_capture = flavour.kind == "trt"  # TensorRT-RTX makes its own graphs; both at once is forbidden
        self._runtime: Any = None
        self._engine: Any = None
        try:
            self._load(plan, contract)
        except BaseException:
            self.close()  # now, while the context is current, and not when the error is forgotten
            raise

    def create_context(self) -> "TrtContext":
        """See ``Engine``."""
        self.listen()
        how = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        with self._making:
            if self._flavour.kind == "rtx":
                how = self._runtime_config(how)
            context = self._engine.create_execution_context(how)
        if context is None:
            raise self.refused("makes no execution context")
        return TrtContext(self, context)

    def close(self) -> None:
        """See ``Engine``."""
        try:
            self._save_jit()
        finally:
            self._config = self._jit = None
            self._engine = None  # before what made it
            self._runtime = None

    def listen(self) -> None:
        """Forget what TensorRT has said on this thread: what comes next belongs to the next call."""
        self._heard.here.lines.clear()

    def refused(self, what: str) -> DeviceError:
        """For what TensorRT has not done: the error, with the reason that it gave on this thread."""
        log = self._heard.here
        if any(_OUT_OF_MEMORY.search(reason) for reason in log.errors):
            return DeviceMemoryError(f"the GPU has not enough memory: {self._flavour} {what} ({log.reason})")
        return EngineError(f"{self._flavour} {what}: {log.reason}")

    def _load(self, plan: bytes, contract: Contract) -> None:
        try:
            self._runtime = self._trt.Runtime(self._logger)
        except TypeError as err:  # how the bindings tell that nothing was made
            raise self.refused("does not start") from err
        self._check_validity(plan)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise self.refused("does not take the engine")
        self.io: Literal["float", "uint8"]
        self.input, self.output, self.io = self._tensors()
        if self.io != contract.io:
            raise EngineError(f"the engine has {self.io} in and out, but its description says {contract.io}")
        self.profile = self._profile()

    def _check_validity(self, plan: bytes) -> None:
        """TensorRT-RTX tells what it has against an engine before it takes it."""
        if not hasattr(self._runtime, "get_engine_validity"):
            return
        validity, diagnostics = self._runtime.get_engine_validity(plan)
        if validity != self._trt.EngineValidity.INVALID:
            return
        kinds = self._trt.EngineInvalidityDiagnostics.__members__
        found = [name for name, bit in kinds.items() if int(diagnostics) & int(bit)]
        if found == ["INSUFFICIENT_GPU_MEMORY"]:
            raise DeviceMemoryError(f"the GPU has not enough memory for the engine: so says {self._flavour}")
        if found:
            raise EngineError(
                f"{self._flavour} does not take the engine ({', '.join(found)}): build it again on this machine"
            )

    def _tensors(self) -> tuple[str, str, Literal["float", "uint8"]]:
        """Names of input and output, and what both are made of."""
        trt = self._trt
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        outputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
        kinds = {self._engine.get_tensor_dtype(name) for name in names}
        formats = {self._engine.get_tensor_format(name) for name in names}
        if len(inputs) != 1 or len(outputs) != 1 or formats != {trt.TensorFormat.LINEAR}:
            raise EngineError("the engine has not one input and one output in linear memory: build it with edsr-trt")
        if kinds == {trt.DataType.FLOAT}:
            return inputs[0], outputs[0], "float"
        if kinds == {trt.DataType.UINT8}:
            return inputs[0], outputs[0], "uint8"
        raise EngineError(
            f"the engine has {' and '.join(sorted(kind.name for kind in kinds))} in and out, expected FLOAT or UINT8"
        )

    def _profile(self) -> Profile:
        shapes = [tuple(dims) for dims in self._engine.get_tensor_profile_shape(self.input, 0)]
        channel = 1 if self.io == "float" else 3
        if len(shapes) != 3 or any(len(shape) != 4 or shape[channel] != 3 for shape in shapes):
            raise EngineError(f"the engine takes {shapes}, expected three shapes of RGB pictures")
        return Profile(*(Size(*(n for axis, n in enumerate(shape) if axis != channel)) for shape in shapes))

    def _runtime_config(self, strategy: Any) -> Any:
        if self._config is None:
            self._config = self._engine.create_runtime_config()
            if self._config is None:
                raise self.refused("makes no runtime configuration")
            try:
                self._config.set_execution_context_allocation_strategy(strategy)
                self._config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
                if self._jit_cache is not None:
                    self._load_jit(self._jit_cache)
            except BaseException:
                self._config = self._jit = None
                raise
        return self._config

    def _load_jit(self, file: Path) -> None:
        self._jit = self._config.create_runtime_cache()
        if self._jit is None:
            return
        with contextlib.suppress(OSError):
            self._jit.deserialize(file.read_bytes())  # False: of another machine; begun anew
        if not self._config.set_runtime_cache(self._jit):
            raise self.refused("does not take a runtime cache")

    def _save_jit(self) -> None:
        if self._jit is None or self._jit_cache is None:
            return
        blob = self._jit.serialize()
        if blob is None or not bytes(blob):
            return
        with contextlib.suppress(OSError):  # a full disk: the next run compiles again, that is all
            write_whole(self._jit_cache, bytes(blob))


class TrtContext:
    """See ``ExecutionContext``."""

    def __init__(self, engine: TrtEngine, context: Any) -> None:
        self._engine = engine
        self._context: Any = context

    def set_shape(self, size: Size) -> None:
        """See ``ExecutionContext``."""
        engine = self._engine
        engine.listen()
        if not self._context.set_input_shape(engine.input, size.dims(engine.io)):
            raise engine.refused(f"does not take {size}")
        try:
            missing = self._context.infer_shapes()
        except RuntimeError as err:
            raise engine.refused(f"does not take {size}") from err
        if missing:
            raise EngineError(f"the engine has inputs without a shape: {', '.join(missing)}")
        expected = Size(size.batch, engine.scale * size.height, engine.scale * size.width)
        given = tuple(self._context.get_tensor_shape(engine.output))
        if given != expected.dims(engine.io):
            raise EngineError(f"the engine gives {given} for {size}, expected {expected.dims(engine.io)}")

    def activation_bytes(self) -> int:
        """See ``ExecutionContext``."""
        self._engine.listen()
        size = int(self._context.update_device_memory_size_for_shapes())
        if size < 0:
            raise self._engine.refused("does not tell how much memory it needs")
        return size

    def set_memory(self, address: int, size: int) -> None:
        """See ``ExecutionContext``."""
        self._context.set_device_memory(address, size)

    def enqueue(self, stream: int, lr: int, sr: int) -> None:
        """See ``ExecutionContext``."""
        engine = self._engine
        engine.listen()
        for name, address in ((engine.input, lr), (engine.output, sr)):
            if not self._context.set_tensor_address(name, address):
                raise engine.refused(f"does not take an address for {name}")
        if not self._context.execute_async_v3(stream):
            raise engine.refused("does not run the engine")

    def close(self) -> None:
        """See ``ExecutionContext``."""
        self._context = None


class _Heard:
    """What TensorRT has said, apart by thread: workers do not take one another's reasons, nor clear them away."""

    def __init__(self) -> None:
        self._by_thread = threading.local()

    @property
    def here(self) -> Log:
        """Of the calling thread."""
        log: Log | None = getattr(self._by_thread, "log", None)
        if log is None:
            log = self._by_thread.log = Log()
        return log

    def add(self, severity: int, message: str) -> None:
        self.here.add(severity, message)
