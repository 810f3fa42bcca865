"""The parent's end of a child process that works on one mix."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .failures import failure_from
from .worker_protocol import (
    Command,
    Event,
    FailedEvent,
    StopCommand,
    WorkCommand,
    encode_command,
    parse_event,
)

STDERR_LINES = 200
STDERR_LINE_BYTES = 2000


class Worker:
    """A worker process: started here, its messages kept, ended with all its children."""

    def __init__(self, command: WorkCommand, on_message: Callable[[], None]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hotfolder.worker_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Its own group: ^C in a terminal is the daemon's to handle, and a kill reaches the
            # plug-in hosts below the worker as well.
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        self._stopped = False
        self._events: queue.Queue[Event] = queue.Queue()
        self._event: Event | None = None
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._on_message = on_message
        self._threads = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self.send(command)

    @property
    def pid(self) -> int:
        """The process's number, which is its group's as well."""
        return self._process.pid

    def next_event(self) -> Event | None:
        """What it said first, as long as that has not been dropped; nothing when all has."""
        if self._event is None:
            with contextlib.suppress(queue.Empty):
                self._event = self._events.get_nowait()
        return self._event

    def drop_event(self) -> None:
        """Go on to the next event."""
        self._event = None

    @property
    def is_ready(self) -> bool:
        """True when it takes another mix behind a published set: it runs, and nobody has asked it
        to stop."""
        return not self._stopped and self._process.poll() is None

    def begin(self, command: WorkCommand) -> None:
        """Give it another mix."""
        self._stderr.clear()
        self.send(command)

    def send(self, command: Command) -> None:
        """Give it a command."""
        self._stopped |= isinstance(command, StopCommand)
        pipe = _opened(self._process.stdin)
        with contextlib.suppress(OSError):  # it has ended: its exit code tells more
            pipe.write(encode_command(command))
            pipe.flush()

    def exit_code(self) -> int | None:
        """How it ended, once everything it said has been read; negative for a signal."""
        code = self._process.poll()
        if code is None or any(thread.is_alive() for thread in self._threads[:1]):
            return None
        return code

    def last_words(self) -> str:
        """The end of what it and its libraries wrote to stderr."""
        return "".join(self._stderr)

    def resident_mb(self) -> float:
        """Resident memory of the process and its children, 0 where the system does not say."""
        return sum(_resident_mb(pid) for pid in _family(self.pid))

    def kill(self) -> None:
        """End it and its children at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill what is left of it and reap it."""
        self.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join(timeout=5)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()

    def _read_events(self) -> None:
        for line in _opened(self._process.stdout):
            with contextlib.suppress(json.JSONDecodeError):  # killed in the middle of a line
                self._events.put(_event_in(line))
            self._on_message()
        self._process.wait()
        self._on_message()

    def _read_stderr(self) -> None:
        pipe = _opened(self._process.stderr)
        # A plug-in may write without end and without a line break; memory stays bounded.
        while line := pipe.readline(STDERR_LINE_BYTES):
            self._stderr.append(line.decode("utf-8", "replace"))


def _event_in(line: bytes) -> Event:
    """The event in a line; one that nobody understands is a failure of its worker."""
    try:
        return parse_event(line)
    except json.JSONDecodeError:
        raise
    except Exception as error:
        return FailedEvent(failure_from(error))


def _resident_mb(pid: int) -> float:
    if sys.platform != "linux":
        return 0.0
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _family(pid: int) -> list[int]:
    """A process and everything below it, as Linux lists them."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    except OSError:
        children = []
    return [pid, *(grandchild for child in children for grandchild in _family(int(child)))]


def _opened(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
