"""Memory that threads share: nobody gets more than there is, and nobody waits for ever."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import pytest

from scripts.room import Room


def test_all_that_is_held_is_no_more_than_there_is() -> None:
    room, lock = Room(100), Lock()
    held = [0]
    most = [0]

    def hold(size: int) -> None:
        with room.take(size):
            with lock:
                held[0] += min(size, 100)
                most[0] = max(most[0], held[0])
            time.sleep(0.001)
            with lock:
                held[0] -= min(size, 100)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, [30, 60, 100, 1, 500] * 20))
    assert held == [0] and 0 < most[0] <= 100


def test_what_is_larger_than_the_room_has_it_alone_and_an_error_gives_it_back() -> None:
    room = Room(100)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), room.take(1000):
            raise ZeroDivisionError
    with room.take(100):
        pass
