"""What the desk holds in quote money: by instrument, account, base asset and quote currency, now or after a basket.

With orders under way every position counts as the largest it can come to, net values as if all of them filled.
"""

from collections.abc import Mapping
from decimal import Decimal

from attrs import define, field

from actors.guards.book import Book, Held
from venues.model.money import ZERO


@define
class Coming:
    """What may still be bought and sold on a position, both unsigned."""

    account: str
    instrument: str
    buys: Decimal = ZERO
    sells: Decimal = ZERO

    def add(self, qty: Decimal) -> None:
        if qty > ZERO:
            self.buys += qty
        else:
            self.sells -= qty


@define
class Exposure:
    """Values in quote money, None where a price is missing; `unpriced` names those instruments.

    `by_instrument`, `by_asset` and `on_margin` (by account) are gross, `net_base` and `net_quote` signed.
    `positions` counts those that are open, or would be.
    """

    by_instrument: dict[str, Decimal | None] = field(factory=dict)
    by_asset: dict[str, Decimal | None] = field(factory=dict)
    on_margin: dict[str, Decimal | None] = field(factory=dict)
    net_base: dict[str, Decimal] = field(factory=dict)
    net_quote: dict[str, Decimal] = field(factory=dict)
    unpriced: list[str] = field(factory=list)
    positions: int = 0


def measure(book: Book, now: int, coming: Mapping[str, Coming] | None = None) -> Exposure:
    """Return the exposure of what is held, with what is `coming` by position on top."""
    into, held = Exposure(), book.state.held
    coming = coming or {}
    rows: list[tuple[Held | Coming, Decimal | None, Coming | None]] = [
        (one, one.qty, coming.get(key)) for key, one in held.items()
    ]
    rows += [(extra, ZERO, extra) for key, extra in coming.items() if key not in held]
    by_instrument, by_asset, on_margin = into.by_instrument, into.by_asset, into.on_margin
    net_base, net_quote, lines = into.net_base, into.net_quote, book.lines
    for one, qty, extra in rows:
        instrument = one.instrument
        line = lines.get(instrument)
        if line is None or qty is None:
            into.positions += 1
            _lose(into, instrument, instrument, one.account)
            continue
        if extra is None:
            largest, net = qty.copy_abs(), qty
        else:
            high, low = qty + extra.buys, qty - extra.sells
            largest, net = max(high.copy_abs(), low.copy_abs()), high - extra.sells
        if not largest:
            continue
        into.positions += 1
        unit, base, quote = book.unit(now, instrument), line.base, line.quote
        if unit is None:
            _lose(into, instrument, base, "" if line.is_spot else one.account)
            continue
        gross, signed = largest * unit, net * unit
        # A table that lost a value keeps none: sums of unknowns are unknown.
        if instrument not in by_instrument:
            by_instrument[instrument] = gross
        elif (before := by_instrument[instrument]) is not None:
            by_instrument[instrument] = before + gross
        if base not in by_asset:
            by_asset[base], net_base[base] = gross, signed
        elif (before := by_asset[base]) is not None:
            by_asset[base] = before + gross
            net_base[base] += signed
        if not line.is_spot:
            if one.account not in on_margin:
                on_margin[one.account] = gross
            elif (before := on_margin[one.account]) is not None:
                on_margin[one.account] = before + gross
        net_quote[quote] = net_quote[quote] - signed if quote in net_quote else -signed
    return into


def _lose(into: Exposure, instrument: str, base: str, account: str) -> None:
    into.by_instrument[instrument] = into.by_asset[base] = None
    into.net_base.setdefault(base, ZERO)
    if account:
        into.on_margin[account] = None
    into.unpriced.append(instrument)
