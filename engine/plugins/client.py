"""The parent's end of a plug-in's process: starts it, asks it, and survives whatever it does."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from ..audio.blocks import AudioBlock
from .messages import Inspected, InstanceRequest, Loaded, LoadRequest, PluginState, ProcessRequest

HOST = Path(__file__).with_name("host_process.py")
LONGEST_REPLY = 16 << 20
KEPT_OF_STDERR = 2000
LAST_WORDS_S = 5.0
REFUSALS = ("refused", "parameters")
# What speaks against a plug-in itself. A refusal may be right: of a value, a state, a system
# without its libraries.
MISDEEDS = ("crashed", "hung", "ended", "garbled", "latency", "length", "not-finite")


class PluginFailedError(Exception):
    """What a plug-in did: `crashed`, `hung`, `ended`, `garbled`, `refused`, `parameters`, ..."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class PluginClient:
    """One process that hosts one plug-in file; it can be loaded again for stem after stem."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._sent = self._answered = 0
        self._area = _Area()
        self._process = subprocess.Popen(
            # -P: the folder of the program is no place to import from
            [sys.executable, "-P", str(HOST)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # ^C in the terminal is ours to handle, and a plug-in's own children die with it
            start_new_session=True,
        )
        assert self._process.stdout and self._process.stderr
        self._replies: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._last_words = b""
        self._threads = [
            threading.Thread(target=self._read_replies, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._drain_stderr, args=(self._process.stderr,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """The process, for those who want to look at it or end it."""
        return self._process.pid

    def is_settled(self) -> bool:
        """Wait for what is still on its way and drop it; False when the child is gone."""
        try:
            while self._answered < self._sent:
                self._receive()
        except PluginFailedError:
            pass
        else:
            if self._process.poll() is None:
                return True
        self.close()
        return False

    def load(
        self, instance: InstanceRequest, sample_rate: int, channels: int, frames: int
    ) -> Loaded:
        """Load the plug-in for audio of this rate and shape; `process` follows."""
        area = self._area.open(channels, frames)
        request: LoadRequest = {
            **instance,
            "do": "load",
            "sample_rate": sample_rate,
            "area": str(area),
            "channels": channels,
            "frames": frames,
        }
        try:
            return cast(Loaded, self._ask(request))
        finally:
            self._area.hide()

    def inspect(self, instance: InstanceRequest) -> Inspected:
        """Look at every plug-in of a file."""
        return cast(Inspected, self._ask({**instance, "do": "inspect"}))

    def state(self, instance: InstanceRequest) -> PluginState:
        """Set a plug-in as a step says, and have its state."""
        return cast(PluginState, self._ask({**instance, "do": "state"}))

    def submit(self, block: AudioBlock) -> None:
        """Send a block `(channels, n)`; `collect` gets what comes of it.

        Two may be on their way, so that the plug-in works while we prepare the next one.
        """
        frames, half = block.shape[1], self._sent % 2
        self._area.audio[half, :, :frames] = block
        request: ProcessRequest = {"do": "process", "frames": frames, "half": half}
        self._send(request)

    def collect(self, frames: int) -> tuple[AudioBlock, int]:
        """What the plug-in gave for the oldest block sent, and the latency it reports now."""
        half = self._answered % 2
        reply = self._receive()
        returned, latency = reply.get("frames"), reply.get("latency")
        if (
            not isinstance(returned, int)
            or not isinstance(latency, int)
            or not 0 <= returned <= frames
        ):
            raise PluginFailedError("garbled", f"gave {returned} samples for {frames}")
        return self._area.audio[half, :, :returned].copy(), latency

    def process(self, block: AudioBlock) -> tuple[AudioBlock, int]:
        """One block there and back."""
        self.submit(block)
        return self.collect(block.shape[1])

    def _ask(self, request: Mapping[str, object]) -> dict[str, object]:
        """One request and its reply; whatever else happens is a `PluginFailedError`."""
        self._send(request)
        reply = self._receive()
        del reply["id"]
        return reply

    def close(self) -> None:
        """End the process, willing or not."""
        self._end()
        for thread in self._threads:
            thread.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                assert pipe
                pipe.close()
        self._area.close()

    def _send(self, request: Mapping[str, object]) -> None:
        self._sent += 1
        line = json.dumps({**request, "id": self._sent, "limit_s": self.timeout_s})
        assert self._process.stdin
        with contextlib.suppress(OSError, ValueError):  # it is gone: the missing reply tells how
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def _receive(self) -> dict[str, object]:
        try:
            raw = self._replies.get(timeout=self.timeout_s)
        except queue.Empty:
            self.close()
            detail = f"hung: no answer within {self.timeout_s:g} s"
            raise PluginFailedError("hung", detail) from None
        if not raw:
            raise self._death()
        self._answered += 1
        try:
            reply: Any = json.loads(raw)
        except ValueError:
            reply = None
        if not isinstance(reply, dict) or reply.get("id") != self._answered:
            self.close()
            raise PluginFailedError("garbled", "answered with something else than a reply")
        if reply.get("kind") in REFUSALS:
            raise PluginFailedError(str(reply["kind"]), str(reply["error"])[:KEPT_OF_STDERR])
        return reply

    def _death(self) -> PluginFailedError:
        try:
            code = self._process.wait(LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            code = None
        self.close()
        words = self._last_words.decode("utf-8", "replace").strip()
        said = f"; its last words: {words.splitlines()[-1][-200:]}" if words else ""
        if code is None:
            return PluginFailedError("hung", "closed its reply channel and went on running" + said)
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            return PluginFailedError("crashed", f"crashed ({name}){said}")
        return PluginFailedError("ended", f"ended its process (exit code {code}){said}")

    def _end(self) -> None:
        if sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def _read_replies(self, pipe: IO[bytes]) -> None:
        while line := pipe.readline(LONGEST_REPLY):
            self._replies.put(line)
        self._replies.put(b"")

    def _drain_stderr(self, pipe: IO[bytes]) -> None:
        """Keep the last words only: a plug-in was seen to print a line for every block."""
        while part := os.read(pipe.fileno(), 1 << 16):
            self._last_words = (self._last_words + part)[-KEPT_OF_STDERR:]


class _Area:
    """Memory that parent and child both see: a file in RAM, mapped by both."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.audio: npt.NDArray[np.float32] = np.zeros((2, 0, 0), np.float32)

    def open(self, channels: int, frames: int) -> Path:
        """New memory for two blocks `(channels, frames)`, and the name by which it is found."""
        self.close()
        memory = Path("/dev/shm")
        folder = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
        handle, name = tempfile.mkstemp(prefix="stemwright-plugin-", dir=folder)
        self.path = Path(name)
        size = 2 * channels * frames * 4
        with os.fdopen(handle, "r+b") as file:
            file.truncate(size)
            shared = mmap.mmap(file.fileno(), size)
        self.audio = np.frombuffer(shared, np.float32).reshape(2, channels, frames)
        return self.path

    def hide(self) -> None:
        """Both have it now: without a name nothing is left behind, however we end."""
        if self.path:
            with contextlib.suppress(PermissionError):  # Windows keeps names of open files
                self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of it."""
        self.audio = np.zeros((2, 0, 0), np.float32)
        self.hide()
