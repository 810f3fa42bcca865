"""What wakes a loop that waits: a signal, a child's message, an event in the inbox.

A signal may arrive at any moment, also while the main thread holds a lock or while the handler of
the signal before it still runs. So nothing here takes a lock, and no handler is written in Python:
the system's own note in a socket wakes the loop, and `list.insert`, which the interpreter cannot
interrupt, notes what was asked for. A flood of signals can neither deadlock nor nest.
"""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

RINGS = 65_536  # bytes, one for each ring; more than the socket holds
STOP = ("SIGTERM", "SIGINT", "SIGBREAK")
RELOAD = ("SIGHUP",)


class Wakeup:
    """A wait for a ring; `ring` may be called from any thread and in any signal handler."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        for end in (self._near, self._far):
            end.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._near, selectors.EVENT_READ)
        self._stops: list[Any] = []
        self._reloads: list[Any] = []
        self._restore: list[Callable[[], Any]] = []

    def ring(self) -> None:
        """End the present wait, or the next one."""
        # a full socket rings already; a closed one has nobody left to wake
        with contextlib.suppress(OSError):
            self._far.send(b"\0")

    def wait(self, seconds: float) -> None:
        """Return at a ring, at a signal, or after so many seconds."""
        self._selector.select(max(0.0, seconds))
        with contextlib.suppress(BlockingIOError):
            self._near.recv(RINGS)  # once: under a flood there would always be more

    def stop(self) -> None:
        """Ask to stop, as SIGTERM does."""
        self._stops.insert(0, None)
        self.ring()

    @property
    def stops(self) -> int:
        """How often somebody asked to stop."""
        return len(self._stops)

    def take_reload(self) -> bool:
        """True once after somebody asked to read the settings again."""
        asked = bool(self._reloads)
        self._reloads.clear()
        return asked

    def catch_signals(self, *, reload: bool = False) -> None:
        """Take SIGTERM and its like as wishes, until `close`; of use in the main thread only."""
        if threading.current_thread() is not threading.main_thread():
            return
        before = signal.set_wakeup_fd(self._far.fileno(), warn_on_full_buffer=False)
        self._restore.append(partial(signal.set_wakeup_fd, before))
        wishes = [(STOP, self._stops), *([(RELOAD, self._reloads)] if reload else [])]
        for names, noted in wishes:
            for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
                handler = signal.signal(number, noted.insert)  # called as insert(number, frame)
                old = signal.SIG_DFL if handler is None else handler
                self._restore.append(partial(signal.signal, number, old))

    def close(self) -> None:
        """Give the signals back and let go of the sockets."""
        while self._restore:
            self._restore.pop()()
        self._selector.close()
        self._near.close()
        self._far.close()

    def __enter__(self) -> Wakeup:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
