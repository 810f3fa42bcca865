"""Talks to the decoder's own process: a crash, a hang or a refusal becomes one clear error."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from presets import StemwrightError

from .blocks import BLOCK_FRAMES
from .closing import Closing
from .inspection import Link

STALL_S = 60.0  # a decoder that sends nothing for so long hangs
HEADER_BYTES = 4096
_CHILD = Path(__file__).with_name("decoder_process.py")


@dataclass(frozen=True)
class DecoderHeader:
    """What the decoder read from the header; exactly one of the two bits is set, or none."""

    frames: int
    channels: int
    sample_rate: int
    integer_bits: int | None
    float_bits: int | None
    subtype: str


class Decoder(Closing):
    """One run of the child process, from frame `start` to the end of the file.

    `start=None` reads the header only; `links` as in `Inspection`.
    """

    def __init__(
        self,
        path: Path,
        start: int | None = 0,
        links: Sequence[Link] = (),
        stall_s: float = STALL_S,
    ) -> None:
        self._path, self._stall_s, self._stalled = path, stall_s, False
        task = {
            "path": os.fsencode(path.absolute()).hex(),  # a name need not be text
            "start": -1 if start is None else start,
            "block": BLOCK_FRAMES,
            "links": [{"prefix": link.prefix.hex(), "ranges": link.ranges} for link in links],
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        try:
            self._send(json.dumps(task).encode() + b"\n")
            self.header = self._read_header()
        except BaseException:
            self.close()
            raise

    def read(self, frames: int) -> npt.NDArray[np.int32] | npt.NDArray[np.float64]:
        """The next samples, `(channels, n)`; n < frames only at the end of the stream."""
        assert self._process.stdout is not None
        dtype = np.dtype(np.int32 if self.header.integer_bits else np.float64)
        width = dtype.itemsize * self.header.channels
        with self._watchdog():
            raw = self._process.stdout.read(frames * width)
        if len(raw) < frames * width:
            self._refuse_failure()
        whole = len(raw) // width * width
        samples = np.frombuffer(raw[:whole], dtype).reshape(-1, self.header.channels)
        return np.ascontiguousarray(samples.T)

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _send(self, task: bytes) -> None:
        assert self._process.stdin is not None
        with self._watchdog(), contextlib.suppress(BrokenPipeError):  # its end tells why
            self._process.stdin.write(task)
            self._process.stdin.close()

    def _read_header(self) -> DecoderHeader:
        assert self._process.stdout is not None
        with self._watchdog():
            line = self._process.stdout.readline(HEADER_BYTES)
        if not line.endswith(b"\n"):
            self._refuse_failure()
            raise self._error("decoder-failed", "the decoder sent no header")
        return DecoderHeader(**json.loads(line))

    def _watchdog(self) -> _Watchdog:
        return _Watchdog(self._stall_s, self._on_stall)

    def _on_stall(self) -> None:
        self._stalled = True
        self._process.kill()

    def _refuse_failure(self) -> None:
        """At the end of the stream: raise unless the child ended well."""
        assert self._process.stderr is not None
        with self._watchdog():
            said = self._process.stderr.read().decode(errors="replace").strip()
            code = self._process.wait()
        if self._stalled:
            raise self._error("decoder-hung", f"the decoder stood still for {self._stall_s:g} s")
        if code < 0:
            name = signal.Signals(-code).name
            raise self._error("decoder-crashed", f"the decoder crashed on it ({name})")
        if code:
            reason = said.splitlines()[-1] if said else f"exit code {code}"
            raise self._error("mix-undecodable", f"the decoder refused it ({reason})")

    def _error(self, code: str, what: str) -> StemwrightError:
        return StemwrightError(
            code, f"{self._path.name}: {what}. Export the file anew or convert it with ffmpeg."
        )


class _Watchdog:
    """A clock that calls `bite` when the block under `with` takes longer than `limit_s`."""

    def __init__(self, limit_s: float, bite: object) -> None:
        assert callable(bite)
        self._timer = threading.Timer(limit_s, bite)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
