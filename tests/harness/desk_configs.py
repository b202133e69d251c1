"""Configurations for tests of running desks: the demo's market, and strategies that always have something to do."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

BUSY = {
    "entry_bps": '"-100"',
    "exit_bps": '"-100"',
    "max_hold": '"3s"',
    "max_baskets": "1000000",
    "cooldown": '"1s"',
}
"""Opens a basket whenever it may and closes it three seconds later, whatever that costs."""

HOLDING = {**BUSY, "max_hold": '"24h"', "exit_bps": '"-10000"', "max_baskets": "1"}
"""Opens one basket at once and keeps it."""

# A desk that trades on after its venue was gone must not have been disarmed for a position it held meanwhile.
_LIMITS = """
[kill_switch]
capital = "10000000"
consecutive_losses = 1000000
daily_loss = "1000000"
daily_loss_hard = "2000000"
stale_grace = "1h"

[daemon]
snapshot = "2s"
venue_snapshot = "200ms"
"""


def write_config(path: Path, changes: dict[str, str], more: str = "") -> Path:
    """Write the demo's configuration with keys replaced and tables added; return the path."""
    text = (ROOT / "configs" / "demo.toml").read_text(encoding="utf-8")
    for key, value in changes.items():
        text, count = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.M)
        assert count == 1, key
    path.write_text(text + _LIMITS + more, encoding="utf-8")
    return path


HANGING = '''
"""A carry that hangs for good at a given moment, as a strategy of a user's might."""

import re

from attrs import field, frozen

from actors.strategies.cash_and_carry import CashAndCarry, CashAndCarryConfig

NESTED = re.compile(r"(a+)+$")


@frozen
class Config(CashAndCarryConfig):
    how: str = field(kw_only=True, default="never")
    after_ns: int = field(kw_only=True, default=0)


class Hanging(CashAndCarry):
    Config = Config

    def on_start(self, now):
        if self.config.how != "never":
            self.out.timer("hang", now + self.config.after_ns)

    def on_clock(self, now, key):
        if key != "hang":
            super().on_clock(now, key)
        elif not self.is_open(self.state.basket):
            self.out.timer("hang", now + 50_000_000)
        elif self.config.how == "regex":
            NESTED.match("a" * 64 + "b")
        elif self.config.how == "compiled":
            forever()(0)


def forever():
    from numba import njit

    @njit
    def turn(number):
        while True:
            number = number + 1 if number < 1_000_000 else 0
        return number

    return turn
'''
"""A strategy module, written beside a configuration."""


def write_hanging(folder: Path, how: str) -> Path:
    """Write a desk that holds one basket and hangs in `how` (regex, compiled, never) two seconds after its start."""
    (folder / "hanging.py").write_text(HANGING, encoding="utf-8")
    path = write_config(folder / "desk.toml", HOLDING)
    text = path.read_text(encoding="utf-8")
    head, mark, tail = text.partition('kind = "cash_and_carry"')
    assert mark
    tail = tail.replace("[strategies.params]\n", f'[strategies.params]\nhow = "{how}"\nafter = "2s"\n', 1)
    path.write_text(f'{head}kind = "hanging:Hanging"{tail}', encoding="utf-8")
    return path


RESTING = '''
"""A carry that also keeps orders resting far from the market."""

from decimal import Decimal

from attrs import define

from actors.messages import OrderDenied, OrderRequest, OrderUpdate
from actors.base import handles
from actors.strategies.cash_and_carry import CashAndCarry, CashAndCarryState
from venues.model.order import OrderType, Side, TimeInForce


@define
class State(CashAndCarryState):
    asked: int = 0
    resting: int = 0


class Resting(CashAndCarry):
    State = State
    publishes = (*CashAndCarry.publishes, OrderRequest)

    def on_book(self, now, view):
        super().on_book(now, view)
        if view.instrument == self.config.perpetual and self.state.resting < 3 and not self.state.is_stopping:
            self.state.asked += 1
            self.state.resting += 1
            ticks = view.bid - view.bid // 200 - self.state.asked % 20
            price = self.price(view.instrument, ticks)
            self.out.emit(
                OrderRequest(
                    now, f"rest-{self.state.asked}", self.name, "", self.config.perpetual_account, view.instrument,
                    Side.BUY, Decimal("0.010"), OrderType.LIMIT, price, TimeInForce.GTC,
                )
            )

    @handles(OrderDenied)
    def denied(self, now, message):
        if message.request.request_id.startswith("rest-"):
            self.state.resting -= 1

    @handles(OrderUpdate)
    def ended(self, now, update):
        if update.request_id.startswith("rest-") and update.is_final:
            self.state.resting -= 1
'''


def write_resting(folder: Path) -> Path:
    """Write a desk that opens and closes baskets and keeps three orders resting."""
    (folder / "resting.py").write_text(RESTING, encoding="utf-8")
    path = write_config(folder / "desk.toml", BUSY)
    text = path.read_text(encoding="utf-8")
    assert 'kind = "cash_and_carry"' in text
    path.write_text(text.replace('kind = "cash_and_carry"', 'kind = "resting:Resting"'), encoding="utf-8")
    return path
