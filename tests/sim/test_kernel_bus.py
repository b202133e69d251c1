"""Messages under way: a heap in an array against the standard one, whatever is pushed and popped in between."""

import heapq
from random import Random

import numpy as np
import pytest

from sim.kernel.bus import MESSAGE, pop, push

FIELDS = MESSAGE.names or ()


@pytest.mark.parametrize("spread", [1, 5, 10_000, 1 << 62])
def test_messages_come_by_time_then_by_number(spread: int) -> None:
    random, heap, count = Random(spread), np.zeros(300, MESSAGE), 0
    expected: list[tuple[int, ...]] = []
    for number in range(1000):
        if expected and (count == len(heap) or random.random() < 0.45):
            pop(heap, count)
            count -= 1
            # The first is at the place it left, whole.
            assert tuple(heap[count].tolist()) == heapq.heappop(expected)
        else:
            message = (random.randrange(spread), number, *(random.randrange(1 << 40) for _ in FIELDS[2:]))
            heap[count] = message
            push(heap, count)
            count += 1
            heapq.heappush(expected, message)
    while count:
        pop(heap, count)
        count -= 1
        assert tuple(heap[count].tolist()) == heapq.heappop(expected)
