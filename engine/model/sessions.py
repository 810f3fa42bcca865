"""ONNX Runtime sessions: which device was asked for, and which one a session really got.

`onnxruntime.get_available_providers()` lists what was compiled in, not what works; a session
that cannot use the GPU falls back to the CPU with a log line. So the truth is read from
`session.get_providers()` after the session is made, and a fallback is reported or refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError

if TYPE_CHECKING:
    import onnxruntime
    from onnxruntime import OrtValue

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
_NAMES = {provider: name for name, provider in _PROVIDERS.items()}

# What ONNX Runtime's errors are called when a graphics card cannot go on.
_CARD_ERRORS = ("RuntimeException", "EPFail", "EngineError", "DeviceReset", "Fail")
_NO_MEMORY = ("out of memory", "failed to allocate", "bad_alloc")
_LONGEST_REASON = 200  # characters of ONNX Runtime's own words


@dataclass(frozen=True)
class Device:
    """What was asked for: `auto`, `cpu`, `cuda`, `cuda:1`, `coreml` or `directml`."""

    name: str
    index: int = 0
    strict: bool = False

    @classmethod
    def parse(cls, text: str, *, strict: bool = False) -> Device:
        """Read the --device option."""
        name, _, index = text.partition(":")
        if name not in ("auto", *_PROVIDERS) or (
            index and not (name == "cuda" and index.isdigit())
        ):
            raise StemwrightError(
                "device-unknown",
                f"device {text!r}: expected auto, cpu, cuda, cuda:N, coreml or directml.",
            )
        if strict and name == "auto":
            raise StemwrightError(
                "device-unnamed",
                "the device is to be strict, but none is named, and any is right for auto. Name "
                "one, such as --device cuda, or leave --strict-device out.",
            )
        return cls(name, int(index or 0), strict)

    def providers(self) -> list[Any]:
        """What to ask ONNX Runtime for, best first."""
        import onnxruntime

        available = onnxruntime.get_available_providers()
        wanted = list(_PROVIDERS) if self.name == "auto" else [self.name]
        wanted = [name for name in ("cuda", "coreml", "directml") if name in wanted]
        chosen: list[Any] = [
            # TensorFloat-32 has 10 bits of mantissa: the bundles' self-tests would fail
            (_PROVIDERS[name], {"device_id": str(self.index), "use_tf32": "0"})
            if name == "cuda"
            else _PROVIDERS[name]
            for name in wanted
            if _PROVIDERS[name] in available
        ]
        return [*chosen, _PROVIDERS["cpu"]]

    def check(self, got: str) -> None:
        """Refuse a session on another device than the one named, when strict."""
        if self.strict and self.name != got:
            raise StemwrightError(
                "device-unavailable",
                f"device {self.name} was asked for, ONNX Runtime gave {got}. Install the 'gpu' "
                "extra in place of 'cpu', check the driver, or leave --strict-device out.",
            )


def usable_cores() -> int:
    """Cores this process may use; hyper-threads count, containers' limits are kept."""
    return (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )


def make_session(
    model: bytes | Path, device: Device, threads: int = 1
) -> tuple[onnxruntime.InferenceSession, str]:
    """Make a session and return it with the short name of the device it runs on.

    One thread each for priors: their sessions run side by side, and a result that does not
    depend on the number of threads is worth more than the last per cent of one session. A
    foreign model runs alone and takes `threads`. A graph given by its path may keep weights
    beside it.
    Raises StemwrightError for a device that fails, ONNX Runtime's own errors for a graph that it
    cannot read.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise StemwrightError(
            "device-without-runtime",
            f"ONNX Runtime cannot be loaded: {error}. Install the extra stemwright[cpu] or "
            "stemwright[gpu].",
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    providers = device.providers()
    if len(providers) > 1 and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # finds CUDA inside the nvidia wheels
    try:
        source = str(model) if isinstance(model, Path) else model
        session = onnxruntime.InferenceSession(source, options, providers=providers)
    except Exception as error:
        if _no_memory(error) or _cpu_reads(source, options):
            raise _device_failed(device.name, error) from error
        raise
    got = _NAMES.get(session.get_providers()[0], session.get_providers()[0])
    device.check(got)
    return session, got


def _cpu_reads(model: bytes | str, options: onnxruntime.SessionOptions) -> bool:
    """Whether a graph is sound, so that the device is to blame for a session that failed."""
    import onnxruntime

    try:
        onnxruntime.InferenceSession(model, options, providers=[_PROVIDERS["cpu"]])
    except Exception:
        return False
    return True


def _no_memory(error: Exception) -> bool:
    message = str(error).lower()
    return isinstance(error, MemoryError) or any(words in message for words in _NO_MEMORY)


@contextmanager
def telling_device_faults(device: str) -> Iterator[None]:
    """Turn what a session raises when its device runs out of memory or is lost into a sentence."""
    try:
        yield
    except Exception as error:
        if _no_memory(error) or (device != "cpu" and type(error).__name__ in _CARD_ERRORS):
            raise _device_failed(device, error) from error
        raise


def _device_failed(device: str, error: Exception) -> StemwrightError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:_LONGEST_REASON]
    return StemwrightError(
        "device-failed",
        f"device {device}: ONNX Runtime cannot work on it: {reason}. Free memory there (other "
        "programs may hold it), check the driver, or choose another with --device.",
        transient=True,
    )


class BoundSession:
    """A session whose inputs and outputs stay in the memory of its device (IOBinding).

    `fixed` are inputs that every run is given besides its own.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        device: Device,
        fixed: Mapping[str, NDArray[np.int64]] = MappingProxyType({}),
    ) -> None:
        self._session, self.device = session, device
        self._outputs = [output.name for output in session.get_outputs()]
        self._fixed = {name: self._put(array) for name, array in fixed.items()}

    def put(self, values: NDArray[np.float32] | float) -> OrtValue:
        """Copy an array or a number to the device."""
        return self._put(np.ascontiguousarray(values, np.float32).reshape(np.shape(values)))

    def _put(self, array: NDArray[Any]) -> OrtValue:
        import onnxruntime

        with telling_device_faults(self.device.name):
            return onnxruntime.OrtValue.ortvalue_from_numpy(
                array, self.device.name, self.device.index
            )

    def run(self, inputs: Mapping[str, OrtValue]) -> dict[str, OrtValue]:
        """Run on values of the device; the results, by name, are there too."""
        binding = self._session.io_binding()
        for name, value in {**self._fixed, **inputs}.items():
            binding.bind_ortvalue_input(name, value)
        for name in self._outputs:
            binding.bind_output(name, self.device.name, self.device.index)
        with telling_device_faults(self.device.name):
            self._session.run_with_iobinding(binding)
        return dict(zip(self._outputs, binding.get_outputs(), strict=True))
