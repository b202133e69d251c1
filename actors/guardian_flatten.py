"""How the guard brings the book to nothing by itself: look, plan, trade, and look again until nothing is left.

A round begins with cancelling and one question to every account. What did not answer is not taken for empty: the groups
it may hold a leg of wait. Two complete looks in a row without a position, an order or an open question prove it.
"""

from decimal import Decimal

from actors.base import handles
from actors.basket import quantum
from actors.flatten_plan import FlattenPlan, Holding, Sight, group_of, plan
from actors.guardian_messages import Targets
from actors.guardian_records import Course, Look, Recent
from actors.guardian_venues import ORDERS, GuardVenues
from venues.model.money import ZERO, to_text
from venues.model.order import PositionSide
from venues.model.position import position_key
from venues.port import BookSnapshot, CancelAll, QueryKind, QueryResult

LOOK = "look"
ROUND = "round"
_FLAT_LOOKS = 2
_DOUBLINGS_MAX = 5
"""Looks that lead to nothing cost a venue's weight, of which all others are made: at last one in 32 rounds' time."""


class Flattener(GuardVenues):
    """The rounds. Who begins them, and what being flat means for the rest of the guard, is decided elsewhere."""

    def _begin_rounds(self, now: int) -> None:
        flattening = self.state.flattening
        flattening.course = Course.OWN
        flattening.flat_looks = flattening.idle = 0
        self._look(now)

    # Looking

    def _look(self, now: int) -> None:
        """Ask every account what it holds and what rests there."""
        flattening = self.state.flattening
        flattening.look = look = Look(now)
        flattening.rounds += 1
        if flattening.course is Course.OWN:
            for account in self.accounts:
                self.out.send(CancelAll(now, account))
        for account in self.accounts:
            held = QueryKind.ACCOUNT if self._is_spot(account) else QueryKind.POSITIONS
            for kind in (QueryKind.OPEN_ORDERS, held):
                look.asked[self._ask(now, account, kind)] = (account, kind)
        self.out.timer(LOOK, now + self.config.query_timeout_ns)

    def _seen(self, now: int, result: QueryResult) -> None:
        """Take an answer to the look under way."""
        look = self.state.flattening.look
        assert look is not None
        account, kind = look.asked.pop(result.query_id)
        if kind == QueryKind.OPEN_ORDERS:
            look.resting.update(order.instrument for order in result.orders)
        elif kind == QueryKind.POSITIONS:
            look.holdings += [
                Holding(account, one.instrument, one.position_side, one.qty) for one in result.positions if one.qty
            ]
        elif result.balances is None:
            look.failed[account] = "an answer without balances"
        else:
            look.balances[account] = result.balances
        self._look_on(now)

    def _unseen(self, now: int, query_id: str, why: str) -> None:
        """Take note that a part of the look was not answered."""
        look = self.state.flattening.look
        assert look is not None
        name, kind = look.asked.pop(query_id)
        if kind != QueryKind.BOOK:
            look.failed[name] = why
        self._look_on(now)

    @handles(BookSnapshot)
    def on_book(self, now: int, book: BookSnapshot) -> None:
        look = self.state.flattening.look
        if look is None:
            return
        for query_id in [query for query, asked in look.asked.items() if asked == (book.instrument, QueryKind.BOOK)]:
            del look.asked[query_id]
            look.books[book.instrument] = book
            self._look_on(now)

    def _look_late(self, now: int) -> None:
        """Whatever has not come by now counts as failed."""
        look = self.state.flattening.look
        if look is None:
            return
        for name, kind in look.asked.values():
            if kind != QueryKind.BOOK:
                look.failed[name] = f"no answer within {self.config.query_timeout_ns / 1e9:g} s"
        look.asked.clear()
        self._look_on(now)

    def _look_on(self, now: int) -> None:
        """Ask for the books once the holdings are known, and judge once the books are."""
        look = self.state.flattening.look
        if look is None or look.asked:
            return
        if not look.wants_books:
            look.wants_books = True
            self._fix_targets(now, look)
            for instrument in dict.fromkeys(one.instrument for one in self._holdings(look) if one.qty):
                account = self._who_can_ask(instrument, look)
                if account is not None:
                    query_id = self._ask(now, account, QueryKind.BOOK, instrument)
                    look.asked[query_id] = (instrument, QueryKind.BOOK)
            if look.asked:
                self.out.timer(LOOK, now + self.config.query_timeout_ns)
                return
        self.state.flattening.look = None
        self.out.cancel_timer(LOOK)
        self._judge(now, look)

    def _who_can_ask(self, instrument: str, look: Look) -> str | None:
        spec = self.instruments.get(instrument)
        if spec is None:
            return None
        return next((account for account in self._at(spec.venue) if account not in look.failed), None)

    # What there is to trade

    def _holdings(self, look: Look) -> list[Holding]:
        """Return the positions, and of each spot asset what is above or below the balance it is brought to."""
        found = list(look.holdings)
        for account, balances in look.balances.items():
            targets = self.state.flattening.targets.get(account)
            for asset, instrument in self._assets(account).items():
                balance = balances.get(asset, ZERO)
                if targets is not None:
                    surplus = balance - targets.get(asset, ZERO)
                else:
                    surplus = max(ZERO, balance - self._baseline(account, asset))
                qty = min(surplus, balance) / self.instruments[instrument].multiplier
                if qty:
                    found.append(Holding(account, instrument, PositionSide.BOTH, qty))
        return found

    def _assets(self, account: str) -> dict[str, str]:
        """Return the assets that a spot account trades, each with the first instrument that trades it."""
        venue = self.accounts[account].venue
        found: dict[str, str] = {}
        for spec in self.instruments.values():
            if spec.is_spot and spec.venue == venue:
                found.setdefault(spec.base, spec.id)
        return found

    def _baseline(self, account: str, asset: str) -> Decimal:
        """Return what of an asset is not the desk's: as the desk said, or what was there before its first trade."""
        told = self.state.baselines.get(account, {})
        return told.get(asset, self.accounts[account].balance(asset))

    def _fix_targets(self, now: int, look: Look) -> None:
        """Choose, at the first full look, the balance that each spot asset is brought to.

        What is above the baseline is sold. What is below it is bought back only as far as other positions stand
        against it: the rest was not the desk's to begin with, and buying it would be a new risk.
        """
        flattening = self.state.flattening
        if look.failed or flattening.targets.keys() >= look.balances.keys():
            return
        nets: dict[str, Decimal] = {}
        for one in self._holdings(look):
            spec = self.instruments.get(one.instrument)
            if spec is not None and not spec.inverse:
                nets[spec.base] = nets.get(spec.base, ZERO) + one.qty * spec.multiplier
        for account, balances in look.balances.items():
            targets = {}
            for asset in self._assets(account):
                balance, baseline = balances.get(asset, ZERO), self._baseline(account, asset)
                back = min(max(ZERO, baseline - balance), max(ZERO, nets.get(asset, ZERO)))
                nets[asset] = nets.get(asset, ZERO) - back
                targets[asset] = balance + back if balance < baseline else baseline
            flattening.targets[account] = targets
            self.out.emit(Targets(now, account, targets))

    def _still_there(self, now: int, holdings: list[Holding]) -> list[Holding]:
        """Take off what our own fills have closed already where an account still tells the older state."""
        recent, settle_ns = self.state.flattening.recent, self.config.settle_ns
        found = []
        for one in holdings:
            known = recent.get(position_key(one.account, one.instrument, one.position_side))
            if known is not None and now - known.at_ns < settle_ns and abs(known.left) < abs(one.qty):
                one = Holding(one.account, one.instrument, one.position_side, known.left)  # noqa: PLW2901
            found.append(one)
        return found

    def _held_up(self, look: Look) -> dict[str, str]:
        """Return the groups that cannot be traded on what this look has seen, and why."""
        found: dict[str, str] = {}
        for account, why in look.failed.items():
            for spec in self.instruments.values():
                if spec.venue == self.accounts[account].venue:
                    found.setdefault(group_of(spec.id, self.instruments), f"{account} is not known: {why}")
        for instrument in sorted(look.resting):
            found.setdefault(group_of(instrument, self.instruments), f"orders are open in {instrument}")
        for client_id, working in self.state.flattening.working.items():
            found.setdefault(
                group_of(working.order.instrument, self.instruments), f"the fate of {client_id} is not known"
            )
        return found

    # Judging and trading

    def _judge(self, now: int, look: Look) -> None:
        """Decide what follows from a look: trade, look again, or that the book is flat."""
        flattening = self.state.flattening
        told = self._holdings(look)
        holdings = self._still_there(now, told)
        sight = Sight(look.books, flattening.rungs, flattening.blind, self._held_up(look), self._funds(look))
        made = plan(holdings, self.instruments, sight, self.config.terms)
        is_flat = (made if holdings == told else plan(told, self.instruments, sight, self.config.terms)).is_flat
        is_complete = not look.failed and not look.resting and not flattening.working
        flattening.left = self._left(look, made)
        if flattening.course is Course.CHECK:
            self._judge_desk(now, made, is_complete=is_complete)
            return
        if is_flat and is_complete:
            flattening.flat_looks += 1
            if flattening.flat_looks >= _FLAT_LOOKS or flattening.course is Course.FLAT:
                self._is_flat(now)
            else:
                self.out.timer(ROUND, now + self.config.round_ns)
            return
        flattening.flat_looks = 0
        if flattening.course is Course.FLAT:
            if look.failed:
                self.out.timer(ROUND, now + self.config.watch_ns)
                return
            self._is_not_flat(now)
        self._trade(now, holdings, made, look)

    def _funds(self, look: Look) -> dict[tuple[str, str], Decimal]:
        return {(account, asset): amount for account, held in look.balances.items() for asset, amount in held.items()}

    def _left(self, look: Look, made: FlattenPlan) -> list[str]:
        lines = [f"{account} is not known: {why}" for account, why in look.failed.items()]
        lines += [f"open: {_told(one)}" for one in made.open]
        lines += [f"stays: {_told(one)}" for one in made.dust]
        lines += made.waiting
        return lines + [f"{name}: {why}" for name, why in self.state.flattening.refusals.items()]

    def _trade(self, now: int, holdings: list[Holding], made: FlattenPlan, look: Look) -> None:
        flattening = self.state.flattening
        for instrument in look.books:
            flattening.blind.pop(instrument, None)
        for counts, missed in ((flattening.rungs, made.thin), (flattening.blind, made.blind)):
            for instrument in sorted(missed):
                counts[instrument] = counts.get(instrument, 0) + 1
        flattening.has_filled = False
        held = {position_key(one.account, one.instrument, one.position_side): one.qty for one in holdings}
        for order in made.orders:
            left = held[position_key(order.account, order.instrument, order.position_side)]
            self._submit(now, order, Recent(left))
        if made.orders:
            self.out.timer(ORDERS, now + self.config.order_timeout_ns)
        else:
            self._rest(now)

    def _check_round(self, now: int) -> None:
        flattening = self.state.flattening
        if flattening.course is not Course.OWN or flattening.look is not None:
            return
        if any(working.inquiry is None for working in flattening.working.values()):
            return
        self.out.cancel_timer(ORDERS)
        if flattening.has_filled:
            flattening.idle = 0
            self._look(now)
        else:
            self._rest(now)

    def _rest(self, now: int) -> None:
        """Wait before the next round, longer each time nothing came of one."""
        flattening = self.state.flattening
        self.out.timer(ROUND, now + (self.config.round_ns << min(flattening.idle, _DOUBLINGS_MAX)))
        flattening.idle += 1

    def _round_due(self, now: int) -> None:
        flattening = self.state.flattening
        if flattening.course in {Course.OWN, Course.CHECK, Course.FLAT} and flattening.look is None:
            self._look(now)

    def _is_dust_to_a_desk(self, made: FlattenPlan) -> bool:
        """Whether every position is below what the desk's baskets trade in: the common quantum of its group."""
        for one in made.open:
            spec = self.instruments.get(one.instrument)
            if spec is None or spec.inverse:
                return False
            group = [one for one in self.instruments.values() if one.base == spec.base and not one.inverse]
            unit = quantum(group)
            if abs(one.qty) * spec.multiplier >= unit:
                return False
        return True

    # What it means

    def _judge_desk(self, now: int, made: FlattenPlan, *, is_complete: bool) -> None:
        raise NotImplementedError

    def _is_flat(self, now: int) -> None:
        raise NotImplementedError

    def _is_not_flat(self, now: int) -> None:
        raise NotImplementedError


def _told(one: Holding) -> str:
    side = "" if one.position_side is PositionSide.BOTH else f" {one.position_side}"
    return f"{one.account} {one.instrument}{side} {to_text(one.qty)}"
