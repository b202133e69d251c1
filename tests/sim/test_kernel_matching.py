"""The compiled matcher against plain Python: the same script, the same fills, ends, levels, queues and fronts."""

from random import Random
from typing import Any

import pytest
from matching_players import KernelPlayer, Player, ReferencePlayer, VenuePlayer, check_queues
from reference_matcher import BUY, SELL, End, Fill, ReferenceOrder

from sim.kernel import layout
from sim.queue_models import make_queue_model

Step = tuple[str, tuple[Any, ...]]
MODELS = ("risk_averse", "power_1", "power_2.5", "log")
PAGE = layout.PAGE_TICKS

# What a script's prices are around: one place, or several between which it jumps.
PLACES = {
    "near": (1000,),
    "page boundaries": (-PAGE, 0, PAGE, 2 * PAGE),
    "negative": (-37, -36),
    "far apart": (-3_000_001, 17, 5_000_000),
}


class Script:
    """Draws a market that now and then crosses itself, and orders around it."""

    def __init__(self, seed: int, places: tuple[int, ...], orders: float = 0.5) -> None:
        self.random = Random(seed)
        self.places = places
        self.share = orders
        self.names: list[str] = []

    def steps(self, count: int) -> list[Step]:
        found = [self._snapshot()]
        while len(found) < count:
            found.append(self._order() if self.random.random() < self.share else self._market())
        return found

    def _price(self, low: int = -4, high: int = 4) -> int:
        return self.random.choice(self.places) + self.random.randint(low, high)

    def _levels(self, low: int, high: int) -> list[tuple[int, int]]:
        prices = {self._price(low, high) for _ in range(self.random.randint(0, 5))}
        return [(ticks, self.random.choice((0, 1, 2, 3, 7, 20))) for ticks in prices]

    def _snapshot(self) -> Step:
        low, high = (-4, 0) if self.random.random() < 0.9 else (-4, 4)
        if self.random.random() < 0.1:
            return "on_snapshot", ([], [])
        return "on_snapshot", (self._levels(low, high), self._levels(1 - high, 4))

    def _market(self) -> Step:
        what = self.random.random()
        if what < 0.08:
            return self._snapshot()
        if what < 0.5:
            crosses = self.random.random() < 0.15
            levels = self._levels(-4, 4 if crosses else 0), self._levels(-4 if crosses else 1, 4)
            return ("on_delta", levels) if any(levels) else ("on_delta", ([(self._price(), 0)], []))
        if what < 0.96:
            return "on_trade", (self._price(), self.random.choice((1, 2, 3, 5, 9, 30)), self._side())
        return "set_open", (self.random.random() < 0.6,)

    def _side(self) -> int:
        return self.random.choice((BUY, SELL))

    def _order(self) -> Step:
        what = self.random.random()
        if self.names and what < 0.15:
            return "cancel", (self.random.choice(self.names[-12:]),)
        if self.names and what < 0.35:
            keeps = self.random.random() < 0.5
            price = self._price() if self.random.random() < 0.5 else None
            return "modify", (self.random.choice(self.names[-12:]), price, self.random.randint(1, 12), keeps)
        return "submit", (self._submit(),)

    def _submit(self) -> dict[str, Any]:
        random, name = self.random, f"o{len(self.names)}"
        self.names.append(name)
        is_market = random.random() < 0.12
        return {
            "name": name,
            "side": self._side(),
            "ticks": None if is_market else self._price(),
            "lots": random.choice((1, 2, 3, 5, 8, 40)),
            "account": random.choice("aab"),
            "tif": "IOC" if is_market else random.choice(("GTC",) * 5 + ("GTX", "IOC", "FOK")),
            "display": random.choice((0, 0, 0, 1, 2, 3)),
            "min_lots": random.choice((0, 0, 0, 0, 2)),
            "reduces": random.random() < 0.3,
            "stp": random.choice(("trade", "taker", "maker", "both")),
        }


def do(player: Player, step: Step, reference: ReferencePlayer) -> None:
    """Let a player do a step; a modify without a price keeps the one the order has."""
    what, arguments = step
    if what == "submit":
        player.submit(ReferenceOrder(**arguments[0]))
        return
    if what == "modify":
        name, ticks, lots, keeps = arguments
        known = reference.matcher.orders.get(name)
        if known is None or known.ticks is None:
            return
        arguments = name, known.ticks if ticks is None else ticks, lots, keeps
    getattr(player, what)(*arguments)


def check_same(reference: ReferencePlayer, player: Player, events: list[Any], where: str) -> None:
    heard = player.take_events()
    if isinstance(player, KernelPlayer):
        # Within one instant it says last that the part of a taking order which reduce-only cut away expired.
        heard, events = sorted(heard, key=_ends_last), sorted(events, key=_ends_last)
    assert heard == events, where
    for side in (BUY, SELL):
        assert player.displayed(side) == reference.displayed(side), where
        assert list(player.own(side).items()) == list(reference.own(side).items()), where


def _ends_last(event: Fill | End) -> tuple[str, ...]:
    return tuple(event) if isinstance(event, End) else ()


def compare(steps: list[Step], model_name: str, label: str) -> tuple[list[Any], tuple[VenuePlayer, KernelPlayer]]:
    """Play a script with all three and compare after every step; return what happened and the compiled players."""
    model = make_queue_model(model_name)
    reference, venue, kernel = ReferencePlayer(model), VenuePlayer(model), KernelPlayer(model)
    happened: list[Any] = []
    for number, step in enumerate(steps):
        for player in (venue, kernel):
            do(player, step, reference)
        do(reference, step, reference)
        events = reference.take_events()
        where = f"{label}, {model_name}, step {number}: {step}"
        for compiled in (venue, kernel):
            check_same(reference, compiled, events, where)
            check_queues(compiled.k if isinstance(compiled, KernelPlayer) else compiled.core.kernel)
        happened += events
    return happened, (venue, kernel)


@pytest.mark.parametrize("places", PLACES, ids=str)
@pytest.mark.parametrize("model", MODELS)
def test_every_script_ends_alike(places: str, model: str) -> None:
    seen: set[str] = set()
    for seed in range(30):
        happened, _ = compare(Script(seed, PLACES[places]).steps(60), model, f"seed {seed}")
        seen |= {one.how if isinstance(one, End) else one.reason for one in happened}
    # The scripts reach what they are for.
    assert seen == {"expired", "canceled", "rejected", "taker", "queue", "through", "crossed"}


def test_more_orders_than_slots_change_nothing() -> None:
    """64 slots at the start; the scripts leave several hundred orders resting."""
    script = Script(5, (0, 400), orders=1.0)
    steps = script.steps(1)
    for number in range(600):
        side = BUY if number % 2 else SELL
        ticks = -side * (6 + number % 40)
        steps.append(("submit", ({"name": f"r{number}", "side": side, "ticks": ticks, "lots": 1 + number % 3},)))
    script.share = 0.4
    steps += script.steps(60)
    # Everything that rests in the way goes at once.
    steps += [("on_trade", (-100, 5, SELL)), ("on_trade", (100, 5, BUY))]
    happened, players = compare(steps, "risk_averse", "many")
    for player in players:
        assert len(player.core.kernel.orders) >= 512
    assert len(happened) > 500


def test_directory_and_pages_grow_with_the_prices() -> None:
    script = Script(3, tuple(range(-40_000_000, 40_000_000, 2_000_003)))
    _, players = compare(script.steps(150), "power_1", "growing")
    for player in players:
        assert len(player.core.kernel.used) > 40
        assert player.core.kernel.directory.shape[1] > 70_000_000 // PAGE


def test_an_order_that_expires_with_what_it_met_takes_nothing_more() -> None:
    """Self-trade prevention that ends both ends the taker there and then: what stands behind is not touched."""
    steps: list[Step] = [
        ("on_snapshot", ([], [(10, 3)])),
        ("submit", ({"name": "first", "side": SELL, "ticks": 10, "lots": 1},)),
        ("on_delta", ([], [(10, 8)])),
        ("submit", ({"name": "second", "side": SELL, "ticks": 10, "lots": 1},)),
        ("submit", ({"name": "taker", "side": BUY, "ticks": 10, "lots": 20, "stp": "both"},)),
    ]
    happened, players = compare(steps, "risk_averse", "both")
    taken = sum(one.lots for one in happened if not isinstance(one, End) and one.name == "taker")
    assert taken == 3
    for player in players:
        assert list(player.own(SELL)) == ["second"]
        assert player.displayed(SELL) == [(10, 5)]
