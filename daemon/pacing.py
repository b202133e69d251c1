"""When periodic tasks of one process wake: together, for a wake-up costs an idle process more than what it does."""

from math import floor

import trio


async def tick(period_s: float) -> None:
    """Sleep until the next whole multiple of `period_s` on trio's clock: periods of 0.2 and 1 s meet each second."""
    await trio.sleep_until((floor(trio.current_time() / period_s) + 1) * period_s)
