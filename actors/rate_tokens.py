"""Whether a venue's message limit leaves room for a basket: its orders, and the hedges and cancels it may come to need.

Baskets reserve messages before their first order, so that none is cut off by a limit half way. What is sent is paced
and counted elsewhere; here only promises are kept apart.
"""

from collections.abc import Mapping
from decimal import Decimal

from attrs import define, field, frozen

from actors.base import Actor, handles
from actors.config_checks import positive, share
from actors.messages import Checker, PreflightReply, PreflightRequest, ReservationReleased
from venues.model.instrument import Instrument


@frozen
class RateTokensConfig:
    """At most `messages` of baskets to one venue in any `window_ns`; `venues` overrides it by venue.

    A basket reserves `per_leg` for each leg. Openings leave the share `kept` to baskets that close.
    """

    messages: int = field(default=100, validator=positive)
    venues: Mapping[str, int] = field(factory=dict)
    window_ns: int = field(default=1_000_000_000, validator=positive)
    per_leg: int = field(default=3, validator=positive)
    kept: Decimal = field(default=Decimal("0.4"), validator=share)

    def limit(self, venue: str) -> int:
        return self.venues.get(venue, self.messages)


@define
class Spent:
    """Messages that may have been sent until `ns`: they count for a window more."""

    ns: int
    venue: str
    count: int


@define
class RateTokensState:
    """`reserved` are messages by venue for each basket under way; `spent` those of ended ones, oldest first."""

    reserved: dict[str, dict[str, int]] = field(factory=dict)
    spent: list[Spent] = field(factory=list)


class RateTokens(Actor):
    """Answers pre-flight with Checker.RATE."""

    publishes = (PreflightReply,)
    state: RateTokensState

    def __init__(
        self, instruments: Mapping[str, Instrument], config: RateTokensConfig | None = None, name: str = "rate_tokens"
    ) -> None:
        super().__init__(name)
        self.instruments = instruments
        self.config = config or RateTokensConfig()
        self.state = RateTokensState()

    @handles(PreflightRequest)
    def on_preflight(self, now: int, request: PreflightRequest) -> None:
        wanted: dict[str, int] = {}
        reasons = []
        for leg in request.legs:
            spec = self.instruments.get(leg.instrument)
            if spec is None:
                reasons.append(f"{leg.instrument}: unknown instrument")
                continue
            wanted[spec.venue] = wanted.get(spec.venue, 0) + self.config.per_leg
        if request.basket_id in self.state.reserved:
            reasons.append(f"basket {request.basket_id} is reserved already")
        part = 1 if request.closes is not None else 1 - self.config.kept
        for venue, count in wanted.items():
            free = int(self.config.limit(venue) * part) - self._taken(now, venue)
            if count > free:
                reasons.append(f"{venue}: {count} messages, {max(free, 0)} are free")
        if not reasons:
            self.state.reserved[request.basket_id] = wanted
        self.out.emit(PreflightReply(now, request.basket_id, Checker.RATE, not reasons, tuple(reasons)))

    def _taken(self, now: int, venue: str) -> int:
        spent = self.state.spent
        while spent and spent[0].ns + self.config.window_ns <= now:
            del spent[0]
        reserved = sum(wanted.get(venue, 0) for wanted in self.state.reserved.values())
        return reserved + sum(one.count for one in spent if one.venue == venue)

    @handles(ReservationReleased)
    def on_release(self, now: int, released: ReservationReleased) -> None:
        for venue, count in self.state.reserved.pop(released.basket_id, {}).items():
            self.state.spent.append(Spent(now, venue, count))
