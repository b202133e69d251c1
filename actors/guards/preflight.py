"""Decides whether a whole basket may be opened: what every guard would say if all of it filled.

Guards of what is held (margin, deleveraging, liquidation, settlement) are looked up as they stand; the others are asked
about the desk as it would be, with the baskets that are under way. Closing a basket is never refused: a refusal would
keep the risk on.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from attrs import define

from actors.guards import (
    circuit,
    concentration,
    funding,
    leverage,
    portfolio,
    position_limits,
    rollover,
    size,
    span,
)
from actors.guards.book import Line, Promise, Standing
from actors.guards.dated import circuit_facts, rollover_facts, span_maintenance, span_parameters, trade_date
from actors.guards.exposure import Coming, Exposure, measure
from actors.guards.findings import Finding, Guard, GuardReason, Severity, unknown
from actors.guards.judge import Judge
from actors.guards.portfolio import AssetClass
from actors.messages import BasketLeg, PreflightRequest
from venues.model.money import ONE, ZERO
from venues.model.order import PositionSide, Side
from venues.model.position import position_key
from venues.rules.checks import LIMIT
from venues.rules.contracts import Contract

STANDING: Final = frozenset({Guard.MARGIN, Guard.ADL, Guard.LIQUIDATION_DISTANCE, Guard.SETTLEMENT})
"""Guards that speak of positions alone: what they found last holds until they are asked again."""

_BUY: Final = Side.BUY
_BOTH: Final = PositionSide.BOTH
_OPENS = {PositionSide.LONG: Side.BUY, PositionSide.SHORT: Side.SELL}
_DATED = (AssetClass.CRYPTO_DATED, AssetClass.CME_FUTURE, AssetClass.OTHER_FUTURE)


@define
class _Opening:
    """A leg that enlarges a position, and the signed quantity at worst afterwards."""

    leg: BasketLeg
    line: Line
    after: Decimal


@define
class _Asked:
    """A basket being asked about: what it opens, what is coming by position, the exposure if all of that filled."""

    now: int
    openings: list[_Opening]
    coming: dict[str, Coming]
    exposure: Exposure


class Preflight:
    """`blocks` are the standing findings that block, by `account|subject`."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.book = judge.book
        self.on = judge.on
        self.blocks: dict[str, list[str]] = {}

    def stand(self, standing: Iterable[Standing]) -> None:
        """Take the findings that hold from now on."""
        self.blocks = {}
        for one in standing:
            if one.severity >= Severity.BLOCK and one.guard in STANDING:
                said = f"{one.subject or one.account}: {one.reason}: {one.text}"
                about = "" if one.subject == one.account else one.subject
                self.blocks.setdefault(f"{one.account}|{about}", []).append(said)

    def objections(self, now: int, request: PreflightRequest) -> tuple[tuple[str, ...], list[Promise]]:
        """Return every reason against the basket as `subject: reason: figures`, and what it may trade.

        There is no reason when it may be opened.
        """
        if request.closes is not None:
            return (), []
        book, held = self.book, self.book.state.held
        coming = self._promised(request.basket_id)
        mine: list[Promise] = []
        found: list[tuple[BasketLeg, Line, Coming, Decimal]] = []
        wrong = [] if request.legs else ["no legs"]
        for leg in request.legs:
            line, qty = book.lines.get(leg.instrument), leg.qty
            if line is None or book.accounts.get(leg.account) != line.spec.venue:
                wrong.append(f"unknown: {leg.account}, {leg.instrument}")
                continue
            if not qty.is_finite() or not ZERO < qty < LIMIT:
                wrong.append(f"{leg.instrument}: quantity {qty}")
                continue
            key = position_key(leg.account, leg.instrument, leg.position_side)
            there = coming.get(key)
            if there is None:
                there = coming[key] = Coming(leg.account, leg.instrument)
            if leg.side is _BUY:
                there.buys += qty
            else:
                there.sells += qty
                qty = -qty
            mine.append(Promise(key, leg.instrument, leg.account, qty))
            position = held.get(key)
            if position is not None and position.qty is None:
                wrong.append(f"nothing known about the position in {leg.instrument}")
            found.append((leg, line, there, ZERO if position is None else position.qty or ZERO))
        if wrong:
            return tuple(f"{GuardReason.NO_REFERENCE}: {why}" for why in wrong), []
        openings = [
            _Opening(leg, line, qty + there.buys if leg.side is _BUY else qty - there.sells)
            for leg, line, there, qty in found
            if _enlarges(leg, line, qty)
        ]
        if not openings:
            return (), mine
        asked = _Asked(now, openings, coming, measure(book, now, coming))
        said = self._standing(openings) if self.blocks else []
        findings = self._of_legs(asked) + self._of_desk(asked, request.legs)
        if findings:
            said += [one.said for one in findings if one.severity >= Severity.BLOCK]
        return tuple(dict.fromkeys(said)) if said else (), mine

    def _promised(self, basket_id: str) -> dict[str, Coming]:
        """Return what other baskets may still trade, by position."""
        coming: dict[str, Coming] = {}
        for name, promises in self.book.state.promises.items():
            for one in promises if name != basket_id else ():
                there = coming.get(one.key)
                if there is None:
                    there = coming[one.key] = Coming(one.account, one.instrument)
                there.add(one.rest)
        return coming

    def _standing(self, openings: Iterable[_Opening]) -> list[str]:
        """Return what stands against derivatives; what is paid in full needs no margin."""
        said: list[str] = []
        for one in openings:
            if not one.line.is_spot:
                for key in (f"{one.leg.account}|{one.leg.instrument}", f"{one.leg.account}|"):
                    said += self.blocks.get(key, ())
        return said

    # Leg by leg

    def _of_legs(self, asked: _Asked) -> list[Finding]:
        found: list[Finding] = []
        for one in asked.openings:
            kind, leg = one.line.kind, one.leg
            self._large(asked, one, found)
            if kind is AssetClass.CRYPTO_PERPETUAL:
                if self.on.funding:
                    facts = self.judge.funding_facts(asked.now, leg.instrument, leg.account, leg.side.sign)
                    found += funding.decide(facts, self.book.config.funding)
            elif kind in _DATED:
                found += self._dated(asked, one)
        return found

    def _large(self, asked: _Asked, one: _Opening, into: list[Finding]) -> None:
        """Find what leverage and size have against a leg."""
        name, config, ratio, allowed = one.leg.instrument, self.book.config, None, None
        if not one.line.is_spot and (self.on.leverage or self.on.size):
            stands = self.judge.leverage_facts(asked.now, one.leg.account, one.line.spec, one.after)
            if self.on.leverage:
                into += leverage.decide(stands, config.leverage)
            allowed = leverage.allowed(stands, config.leverage)
            if stands.notional is not None and stands.equity is not None and stands.equity > ZERO:
                ratio = stands.notional / stands.equity
        if self.on.size:
            exposure = asked.exposure
            scale = ONE if one.line.contract is None else self.judge.scale(asked.now, name)
            facts = size.SizeFacts(name, exposure.by_instrument.get(name), exposure.positions, ratio, allowed, scale)
            into += size.decide(facts, config.size)

    def _dated(self, asked: _Asked, one: _Opening) -> list[Finding]:
        book, config, found = self.book, self.book.config, list[Finding]()
        if self.on.rollover:
            day = trade_date(asked.now)
            dates = rollover_facts(one.line.spec, one.line.contract, one.leg.side, day, config.rollover)
            found += rollover.decide(dates, config.rollover)
        if self.on.circuit:
            near = circuit_facts(book, asked.now, one.leg.instrument)
            found += () if near is None else circuit.decide(near, config.circuit)
        if one.line.kind is AssetClass.OTHER_FUTURE:
            for guard, is_on in ((Guard.SPAN, self.on.span), (Guard.POSITION_LIMITS, self.on.position_limits)):
                if is_on:
                    found += unknown(guard, one.leg.instrument, "it is no contract of the tables")
        return found

    # The desk as it would be

    def _of_desk(self, asked: _Asked, legs: Iterable[BasketLeg]) -> list[Finding]:
        found: list[Finding] = []
        config, exposure = self.book.config, asked.exposure
        if self.on.leverage:
            self._accounts(asked, found)
        if self.on.concentration:
            facts = concentration.ConcentrationFacts(exposure.by_asset, config.account_limit)
            dense = concentration.decide(facts, config.concentration)
            if dense:
                opened = {"", *(one.line.base for one in asked.openings)}
                found += [one for one in dense if one.subject in opened]
        if self.on.portfolio:
            found += self._portfolio(asked, legs)
        if self.book.contracts and any(one.line.contract is not None for one in asked.openings):
            found += self._futures(asked)
        return found

    def _accounts(self, asked: _Asked, into: list[Finding]) -> None:
        """Find what leverage has against the accounts whose margin is used."""
        seen = []
        for one in asked.openings:
            account = one.leg.account
            if not one.line.is_spot and account not in seen:
                seen.append(account)
                equity = self.book.account_equity(asked.now, account)
                facts = leverage.LeverageFacts(account, asked.exposure.on_margin.get(account), equity, is_account=True)
                into += leverage.decide(facts, self.book.config.leverage)

    def _portfolio(self, asked: _Asked, legs: Iterable[BasketLeg]) -> Iterable[Finding]:
        """Return what the portfolio guard finds and this basket makes worse."""
        exposure = asked.exposure
        facts = portfolio.PortfolioFacts(exposure.net_base, exposure.net_quote, tuple(exposure.unpriced))
        found = portfolio.decide(facts, self.book.config.portfolio)
        if not found or exposure.unpriced:
            return found
        by_name: dict[str, Decimal] = {}
        for leg in legs:
            spec, unit = self.book.instruments[leg.instrument], self.book.unit(asked.now, leg.instrument)
            value = leg.side.sign * leg.qty * (unit or ZERO)
            for name, share in ((spec.base, value), (f"quote {spec.quote}", -value)):
                by_name[name] = by_name.get(name, ZERO) + share
        return [one for one in found if one.reason is GuardReason.NO_REFERENCE or self._is_worse(one, by_name)]

    def _is_worse(self, one: Finding, added: Mapping[str, Decimal]) -> bool:
        after = one.numbers.get("value", ZERO)
        if one.reason is GuardReason.QUOTE_BASIS:
            mine = added.get(f"quote {one.subject}", ZERO)
        elif one.reason is GuardReason.CORRELATED_DELTA:
            group = self.book.config.portfolio.correlated[one.subject]
            mine = sum((added.get(asset, ZERO) for asset in group.assets), ZERO)
        else:
            mine = added.get(one.subject, ZERO)
        return after.copy_abs() > (after - mine).copy_abs()

    def _futures(self, asked: _Asked) -> list[Finding]:
        found: list[Finding] = []
        after = self._contracts(asked)
        if self.on.position_limits:
            sums: dict[Contract, Decimal] = {}
            for positions in after.values():
                for contract, qty in positions.items():
                    sums[contract] = sums.get(contract, ZERO) + qty
            limits = position_limits.LimitFacts(sums, trade_date(asked.now))
            found += position_limits.decide(limits, self.book.config.position_limits)
        if self.on.span:
            parameters = span_parameters(self.book, asked.now)
            for account in dict.fromkeys(one.leg.account for one in asked.openings if one.line.contract is not None):
                needed = span_maintenance(parameters, after.get(account, {}))
                equity = self.book.account_equity(asked.now, account)
                facts = span.SpanFacts(account, equity, needed, is_entry=True)
                found += span.decide(facts, self.book.config.span)
        return found

    def _contracts(self, asked: _Asked) -> dict[str, dict[Contract, Decimal]]:
        """Return the signed positions by account and contract if everything filled."""
        after = self.judge.contracts()
        for one in asked.coming.values():
            contract = self.book.contracts.get(one.instrument)
            if contract is not None:
                mine = after.setdefault(one.account, {})
                mine[contract] = mine.get(contract, ZERO) + one.buys - one.sells
        return after


def _enlarges(leg: BasketLeg, line: Line, held: Decimal) -> bool:
    """Whether a leg makes a position of signed `held` larger. Spot venues know no reduce-only."""
    if leg.reduce_only and not line.is_spot:
        return False
    if leg.position_side is not _BOTH:
        return leg.side is _OPENS[leg.position_side]
    after = held + leg.qty if leg.side is _BUY else held - leg.qty
    return after.copy_abs() > held.copy_abs()
