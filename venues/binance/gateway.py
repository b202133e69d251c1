"""When a venue of Binance can be traded on: its clock, its streams and its accounts together, behind the port."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

import trio
from attrs import asdict

from venues.binance.account_desk import AccountDesk
from venues.binance.book_feed import BinanceFeed, Deliver
from venues.binance.calls import ORDERS_10S, BinanceCall
from venues.binance.codec import BinanceDecoder
from venues.binance.errors import CodecError
from venues.binance.key_permissions import check_permissions
from venues.binance.listed import disagreements
from venues.binance.market_answers import server_time_ns
from venues.binance.markets import Market, market_of
from venues.binance.reactions import Reaction, Verdict, judge_http
from venues.binance.rules import ExchangeInfo
from venues.binance.settings import AccountKeys, GatewaySettings, KeyRefusedError
from venues.binance.sign import query_of
from venues.model.instrument import Instrument
from venues.net.clock import ClockOffset
from venues.net.errors import NetError
from venues.net.limits import PoolRule, Priority, RatePools, Throttle
from venues.net.outcomes import Outcomes
from venues.net.rest import Answer, Call, RestClient, throttle_of
from venues.net.vitals import Vitals
from venues.port import Command, RateLimited, Report, VenueDown, VenueUp
from venues.unsent import unsent

_SECOND_NS: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000
_OK: Final = 200

CLOCK_S: Final = 20.0
RETRY_S: Final = 1.0
RETRY_MAX_S: Final = 30.0
CLOCK_SAMPLES: Final = 5
CLOCK_SILENT_S: Final = 3 * CLOCK_S
"""How long the venue may not answer the simplest of questions before it counts as down."""

CLOCK_ERROR_NS: Final = 900_000_000
"""More than this and a request could be from the future for the venue, which takes a second of it. Source: facts C2."""

RULES_S: Final = 3_600.0
"""How often the venue's list of instruments is compared with ours: it is changed on days announced before."""

RULES_WRONG_S: Final = 60.0
"""The same while they differ."""

_BACK_OFF_S: Final = 1.0
_BAN_S: Final = 120.0
"""What 429 and 418 mean where they name no time; a ban takes two minutes at the least. Source: facts C4."""

_TOO_MANY: Final = -1003
_POOL_OF_CODE: Final = {-1015: ORDERS_10S}
"""Which pool a refusal for the number of requests is about, all of them where it is not named: going on means a ban."""


_COUNTS: Final = ("commands", "reports", "ups", "downs", "limits_failures", "clock_samples", "clock_failures")


class BinanceGateway:
    """One venue behind the port: commands in by `send`, everything the venue says out by `deliver`.

    It begins down without saying so. VenueUp of channel "" follows once the venue's clock is known and every stream of
    market and accounts is up; VenueDown when the clock or an account's events are lost. Streams of the market that are
    lost later go by the channel `market`, they prove nothing about orders. Instruments are those of one venue.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        accounts: Mapping[str, AccountKeys],
        instruments: Iterable[Instrument],
        deliver: Deliver,
        now: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._keys = dict(accounts)
        self._deliver = deliver
        self._now = now
        self._instruments = tuple(instruments)
        strange = [spec.id for spec in self._instruments if spec.venue != settings.venue]
        if strange:
            raise ValueError(f"{settings.venue}: {', '.join(strange)} are of another venue")
        self._clock = ClockOffset()
        self._clock_ns = 0
        self._pools: list[RatePools] = []
        self._accounts: dict[str, AccountDesk] = {}
        self._feed: BinanceFeed | None = None
        self._missing = {"gateway": "not running"}
        self._is_up = False
        self._limited_until_ns = 0
        self._wants_clock = trio.Event()
        self._refusal: KeyRefusedError | None = None
        self._scope = trio.CancelScope()
        self._collected: list[Report] | None = None
        self._refusals: dict[str, int] = {}
        self._counts = dict.fromkeys(_COUNTS, 0)
        self._outcomes = Outcomes()

    # The face

    def send(self, commands: Sequence[Command]) -> list[Report]:
        """Start what the commands ask for, in order; return what is known at once: refusals, what cannot be sent."""
        collected = self._collected = []
        try:
            for command in commands:
                self._counts["commands"] += 1
                desk = self._accounts.get(command.account)
                if desk is not None:
                    desk.take(command)
                    continue
                is_known = command.account in self._keys
                why = "the gateway is not ready" if is_known else f"{command.account} is no account here"
                collected.append(unsent(command, self._now(), why))
        finally:
            self._collected = None
        return collected

    async def run(self) -> None:
        """Serve the venue until cancelled. Raises KeyRefusedError for a key that is, or must be, of no use."""
        with self._scope:
            await self._serve()
        if self._refusal is not None:
            raise self._refusal

    async def _serve(self) -> None:
        settings = self._settings
        decoder = BinanceDecoder({spec.symbol: spec for spec in self._instruments})
        market = market_of(settings, self._instruments, decoder)
        self._missing = {"clock": "not read yet"}
        for name in self._keys:
            self._missing |= {f"events of {name}": "not up yet", f"key of {name}": "not tried yet"}
        if settings.wants_market and self._instruments:
            self._missing["market"] = "not up yet"
        rules = await self._begin_rules(market)
        self._missing.pop("limits", None)
        self._pools = [RatePools(rules, speed=settings.speed) for _ in self._keys or ("",)]
        self._feed = BinanceFeed(
            settings,
            self._instruments,
            self._deliver,
            self._now,
            fetches_snapshots=False,
            limits=self._pools[0],
            on_state=self._market_state,
            decoder=decoder,
            outcomes=self._outcomes,
        )
        for (name, keys), pools in zip(self._keys.items(), self._pools, strict=False):
            self._accounts[name] = AccountDesk(
                name,
                keys,
                settings,
                market,
                self,
                clock=self._clock,
                limits=pools,
                now=self._now,
                throttled=self._throttled,
            )
        try:
            async with self._client(self._pools[0]) as rest, trio.open_nursery() as nursery:
                await self._sample_clock(market, rest)
                nursery.start_soon(self._keep_clock, market, rest)
                nursery.start_soon(self._keep_rules, market, rest)
                nursery.start_soon(self._feed.run)
                for name, desk in self._accounts.items():
                    await nursery.start(desk.run)
                    nursery.start_soon(self._check_key, name, desk)
        finally:
            self._accounts = {}

    def _client(self, pools: RatePools) -> RestClient:
        return RestClient(
            self._settings.rest,
            headers={},
            limits=pools,
            clock=self._now,
            throttled=self._throttled,
            outcomes=self._outcomes,
        )

    async def _begin_rules(self, market: Market) -> tuple[PoolRule, ...]:
        """Ask for the venue's rules until it answers; return its limits."""
        async with self._client(RatePools(market.default_pools, speed=self._settings.speed)) as rest:
            pause_s = RETRY_S
            while True:
                told, why = await self._ask_rules(market, rest)
                if told is not None:
                    self._compare(told)
                    pools = {rule.name: rule for rule in (*market.default_pools, *told.pools)}
                    return tuple(pools.values())
                self._missing["limits"] = why
                self._counts["limits_failures"] += 1
                await trio.sleep(pause_s)
                pause_s = min(RETRY_MAX_S, 2 * pause_s)

    async def _keep_rules(self, market: Market, rest: RestClient) -> None:
        """Compare again and again; where the venue does not answer, what it said last still holds."""
        while True:
            pause_s = RULES_WRONG_S if "instruments" in self._missing else RULES_S
            await trio.sleep(pause_s / self._settings.speed)
            told, _ = await self._ask_rules(market, rest)
            if told is not None:
                self._compare(told)

    async def _ask_rules(self, market: Market, rest: RestClient) -> tuple[ExchangeInfo | None, str]:
        try:
            answer = await rest.request(_public(market.exchange_info))
            if answer.status == _OK:
                return market.read_exchange_info(answer.body), ""
            return None, f"exchangeInfo: HTTP {answer.status}"
        except (NetError, CodecError) as error:
            return None, f"exchangeInfo: {error}"

    def _compare(self, told: ExchangeInfo) -> None:
        """An instrument that is not what the venue lists keeps the venue down: its orders may be refused, or worse."""
        self._state("instruments", "; ".join(disagreements(self._instruments, told)))

    # The clock

    async def _keep_clock(self, market: Market, rest: RestClient) -> None:
        while True:
            with trio.move_on_after(CLOCK_S if self._clock.is_known else RETRY_S):
                await self._wants_clock.wait()
            if self._wants_clock.is_set():
                # A sample that contradicts the others replaces them: until then the old offset is better than none.
                self._wants_clock = trio.Event()
                await self._sample_clock(market, rest)
            else:
                await self._sample_clock(market, rest, samples=1)

    async def _sample_clock(self, market: Market, rest: RestClient, samples: int = CLOCK_SAMPLES) -> None:
        call = _public(market.time)
        for _ in range(samples):
            try:
                answer = await rest.request(call)
                if answer.status == _OK:
                    self._clock.note(answer.sent_ns, server_time_ns(answer.body), answer.received_ns)
                    self._counts["clock_samples"] += 1
                    self._clock_ns = answer.received_ns
            except (NetError, CodecError):
                self._counts["clock_failures"] += 1
        now, speed = self._now(), self._settings.speed
        if not self._clock.is_known:
            self._state("clock", "the venue does not tell its time")
        elif (error_ns := self._clock.error_ns(now)) > CLOCK_ERROR_NS * speed:
            self._state("clock", f"the venue's time is uncertain by {error_ns // _NS_PER_MS} ms")
        elif (silent_s := (now - self._clock_ns) / _SECOND_NS / speed) > CLOCK_SILENT_S:
            self._state("clock", f"the venue has not answered for {silent_s:.0f} s")
        else:
            self._state("clock", "")

    # Up and down

    def _state(self, part: str, why: str) -> None:
        if why:
            self._missing[part] = why
        else:
            self._missing.pop(part, None)
        venue, now = self._settings.venue, self._now()
        if self._missing and self._is_up:
            self._is_up = False
            self._counts["downs"] += 1
            self._deliver((VenueDown(now, venue, why=self.why_down),))
        elif not self._missing and not self._is_up:
            self._is_up = True
            self._counts["ups"] += 1
            self._deliver((VenueUp(now, venue),))

    @property
    def why_down(self) -> str:
        """What is missing for the venue to be up, empty when nothing is."""
        return "; ".join(f"{name}: {text}" for name, text in sorted(self._missing.items()))

    def _market_state(self, is_up: bool, why: str) -> None:
        del why
        if is_up:
            self._state("market", "")

    # What the accounts say

    def tell(self, reports: Sequence[Report]) -> None:
        if self._collected is not None:
            self._collected += reports
        else:
            self._counts["reports"] += len(reports)
            self._deliver(reports)

    def events_state(self, account: str, is_up: bool, why: str) -> None:
        self._state(f"events of {account}", "" if is_up else why or "down")

    def mark_of(self, instrument: str) -> Decimal | None:
        return None if self._feed is None else self._feed.mark_of(instrument)

    def why_no_book(self) -> str:
        return "" if self._feed is None else self._feed.why_no_book

    def refused(self, account: str, verdict: Verdict) -> None:
        """Do about a refusal what concerns the whole venue."""
        reaction = verdict.reaction
        self._refusals[reaction] = self._refusals.get(reaction, 0) + 1
        if reaction is Reaction.RESYNC_CLOCK:
            self._wants_clock.set()
        elif reaction is Reaction.BAN or verdict.wait_s is not None or verdict.code in (_TOO_MANY, *_POOL_OF_CODE):
            self._quieten(verdict)
        elif reaction is Reaction.STOP_TRADING:
            self.refuse_key(KeyRefusedError(account, f"{verdict.code} {verdict.text}"))

    def refuse_key(self, refusal: KeyRefusedError) -> None:
        """End the gateway: the key is of no use, or may do what it must not."""
        self._refusal = self._refusal or refusal
        self._scope.cancel()

    async def _check_key(self, name: str, desk: AccountDesk) -> None:
        """Ask something that wants a signature: a wrong one must be known before the first order."""
        why = await check_permissions(desk.ways)
        if why:
            self.refuse_key(KeyRefusedError(name, why))
        pause_s = RETRY_S
        while not await desk.is_known():
            await trio.sleep(pause_s)
            pause_s = min(RETRY_MAX_S, 2 * pause_s)
        self._state(f"key of {name}", "")

    # Limits

    def _throttled(self, answer: Answer) -> Throttle | None:
        """What a 429 or 418 by REST means; it holds for the address, and so for every account."""
        told = throttle_of(answer)
        if told is None:
            return None
        verdict = judge_http(answer.status, answer.body, changes=False)
        return Throttle(told.until_ns, None if told.is_ban else _POOL_OF_CODE.get(verdict.code), told.is_ban)

    def _quieten(self, verdict: Verdict) -> None:
        """Shut what the venue has shut, for all accounts: it counts by address."""
        now, is_ban = self._now(), verdict.reaction is Reaction.BAN
        if verdict.until_ms is not None:
            offset_ns = self._clock.offset_ns if self._clock.is_known else 0
            until_ns = verdict.until_ms * _NS_PER_MS - offset_ns
        else:
            wait_s = verdict.wait_s if verdict.wait_s is not None else (_BAN_S if is_ban else _BACK_OFF_S)
            until_ns = now + int(wait_s * _SECOND_NS)
        for pools in self._pools:
            if is_ban:
                pools.ban(until_ns)
            else:
                pools.freeze(until_ns, _POOL_OF_CODE.get(verdict.code))
        if until_ns > self._limited_until_ns:
            self._limited_until_ns = until_ns
            self.tell((RateLimited(now, self._settings.venue, until_ns, is_ban, verdict.text),))

    @property
    def counters(self) -> Mapping[str, float]:
        """Everything that is counted, by dotted name."""
        found: dict[str, float] = {**self._counts, "is_up": self._is_up, "clock_steps": self._clock.steps}
        now = self._now()
        if self._clock.is_known:
            found["clock_offset_ns"] = self._clock.offset_ns
            found["clock_error_ns"] = self._clock.error_ns(now)
        found |= {f"refusals.{name}": count for name, count in self._refusals.items()}
        if self._feed is not None:
            found |= _flat("feed", asdict(self._feed.counters))
        for name, desk in self._accounts.items():
            found |= _flat(f"accounts.{name}", desk.counters())
        for pools in self._pools[:1]:
            for pool in pools.state(now):
                found[f"pools.{pool.name}.used"], found[f"pools.{pool.name}.left"] = pool.used, pool.left
        return found

    @property
    def vitals(self) -> Vitals:
        """How the venue is reached, for metrics."""
        now, clock = self._now(), self._clock
        requests = {("", "rest", path): one for path, one in self._outcomes.counters().items()}
        events = {("", name): count for name, count in self._counts.items()} | {("", "clock_steps"): clock.steps}
        sockets = {}
        if self._feed is not None:
            events |= {("", f"feed_{name}"): count for name, count in asdict(self._feed.counters).items()}
            sockets = {("", one.name): one.socket.counters() for one in self._feed.sockets}
        for account, desk in self._accounts.items():
            requests |= {(account, *asked): one for asked, one in desk.ways.requests().items()}
            events |= {(account, name): count for name, count in desk.events().items()}
            sockets |= {(account, name): one for name, one in desk.sockets().items()}
        return Vitals(
            requests,
            sockets,
            events,
            {name: pools.state(now) for name, pools in zip(self._keys or ("",), self._pools, strict=False)},
            dict(self._refusals),
            max((pools.banned_until_ns for pools in self._pools), default=0),
            clock.offset_ns if clock.is_known else None,
            clock.error_ns(now) if clock.is_known else None,
        )


def _public(call: BinanceCall) -> Call:
    """Return a request that needs no key."""
    query = query_of(call.params)
    return Call(call.method, call.path, query, priority=Priority.HEDGE, costs=call.costs, is_idempotent=True)


def _flat(prefix: str, counts: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}.{name}": count for name, count in counts.items()}


__all__ = ["AccountKeys", "BinanceGateway", "GatewaySettings", "KeyRefusedError"]
