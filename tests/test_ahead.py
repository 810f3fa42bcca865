"""What is made ahead is what would have been made, and nothing is made behind the block."""

import threading

import pytest

from engine.audio.ahead import made_ahead


@pytest.mark.parametrize("threads", [1, 2])
def test_the_items_come_in_their_order(threads):
    with made_ahead(iter(range(20)), threads) as items:
        assert list(items) == list(range(20))


def test_the_next_one_is_made_while_the_first_is_used():
    second = threading.Event()

    def made():
        yield 1
        second.set()
        yield 2

    with made_ahead(made(), 2) as items:
        assert next(items) == 1
        assert second.wait(10)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_comes_where_its_item_would_have_come(threads):
    def made():
        yield 1
        raise ValueError("second")

    with made_ahead(made(), threads) as items:
        assert next(items) == 1
        with pytest.raises(ValueError, match="second"):
            next(items)


def test_nothing_is_made_behind_the_block():
    count = []

    def made():
        while True:
            count.append(len(count))
            yield count[-1]

    with made_ahead(made(), 2) as items:
        next(items)
    last = len(count)
    assert last <= 2
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")]
    assert len(count) == last
