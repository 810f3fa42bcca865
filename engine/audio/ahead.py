"""Makes the next item of a stream on a thread while the current one is used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


@contextmanager
def made_ahead(items: Iterator[Item], threads: int) -> Iterator[Iterator[Item]]:
    """The same items in the same order, one of them in advance where there are threads.

    What making one raises is raised where it would have been given. Behind the block nothing is
    being made any more.
    """
    if threads < 2:
        yield items
        return
    with ThreadPoolExecutor(1) as maker:
        yield _one_in_advance(items, maker)


def _one_in_advance(items: Iterator[Item], maker: Executor) -> Iterator[Item]:
    coming = maker.submit(next, items, None)
    while (item := coming.result()) is not None:
        coming = maker.submit(next, items, None)
        yield item
