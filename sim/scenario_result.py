"""Decides how a played scenario is told, and where it differs from what the scenario expects."""

from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from typing import TYPE_CHECKING

from attrs import evolve

from sim import margin
from sim.account import Holding, SimAccount
from sim.scenario_fields import ScenarioError, join
from sim.venue_order import VenueOrder
from sim.venue_settings import VenueSettings
from sim.venue_state import Market
from venues.model.money import COST_QUANTUM, ONE, NotANumberError, parse_decimal, to_text
from venues.model.order import PositionSide
from venues.port import (
    CancelRejected,
    Deleveraged,
    Liquidated,
    ModifyRejected,
    OrderFilled,
    OrderModified,
    OrderRejected,
    OrderTriggered,
    Report,
    SubmitOrder,
)

if TYPE_CHECKING:
    from sim.scenario import Played

# A quotient that fills these digits does not end, nor does the share of a cost that ends at its quantum: they compare
# at the digits the expectation gives.
_QUOTIENT = Context(prec=28)
_BPS_PLACES = 9
_COST_PLACES = -int(COST_QUANTUM.as_tuple().exponent)


def number(value: Decimal) -> str:
    """Return a number in plain notation without trailing zeros."""
    return to_text(value.normalize()) if value else "0"


def _quotient(value: Decimal) -> str:
    """Return the result of a division as a number of at most 28 digits."""
    return to_text(_QUOTIENT.plus(value))


def build_result(played: "Played") -> dict[str, object]:
    """Return the result document: times in ns from the start, decimals as texts."""
    return {
        "name": played.document.name,
        "orders": _orders(played),
        "fills": [_fill(played, report) for report in played.reports if isinstance(report, OrderFilled)],
        "positions": _positions(played, _account(played)),
        "balances": {asset: number(held) for asset, held in _account(played).account.balances.items()},
        "cash_flows": [
            {
                "t": flow.ts - played.document.epoch_ns,
                "type": flow.type.value,
                "asset": flow.asset,
                "amount": number(flow.amount),
            }
            for flow in played.flows
            if flow.account == played.document.account.id
        ],
        "liquidations": [_liquidation(played, r) for r in played.reports if isinstance(r, Liquidated)],
        "adl": _deleveragings(played),
        "events_log": _events_log(played),
        "errors": [{"t": t, "why": why} for t, why in played.errors],
        **_others(played),
    }


def _others(played: "Played") -> dict[str, object]:
    """Return the simulated participants and the fund, where the scenario says something of either."""
    state, settings = played.venue.state, played.document.settings
    if evolve(settings, controls={}, calendar=False, daily_settlement=False, base_fees=False) == VenueSettings():
        return {}
    participants = {}
    for each in settings.participants:
        account = state.accounts[each.account.id]
        participants[account.id] = {
            "balances": {asset: number(held) for asset, held in account.account.balances.items()},
            "positions": _positions(played, account),
            "liquidations": [
                _liquidation(played, r) for r in played.others if isinstance(r, Liquidated) and r.account == account.id
            ],
        }
    inventory = {state.markets[name].spec.symbol: number(held.qty) for name, held in state.inventory.items()}
    fund = {
        "balances": {asset: number(held) for asset, held in state.insurance.items()},
        "uncovered": {asset: number(held) for asset, held in state.uncovered.items()},
        "positions": {symbol: qty for symbol, qty in inventory.items() if qty != "0"},
    }
    return {"participants": participants, "insurance": fund}


def _account(played: "Played") -> SimAccount:
    return played.venue.state.accounts[played.document.account.id]


def _orders(played: "Played") -> dict[str, object]:
    state = played.venue.state
    refused = {r.client_order_id: r for r in played.reports if isinstance(r, OrderRejected)}
    unsent = {command.order for command in played.unsent if command.action == "submit"}
    found: dict[str, object] = {}
    for command in played.document.commands:
        if not isinstance(command.command, SubmitOrder):
            continue
        name = command.command.client_order_id
        key = (command.command.account, name)
        order = state.live.get(key) or state.done.get(key)
        refusal = refused.get(name)
        reason = "disconnected" if name in unsent else (refusal.reason.value if refusal is not None else None)
        if order is None:
            found[name] = {"status": "rejected", "filled_qty": "0", "avg_price": None, "reject_reason": reason}
        else:
            found[name] = _order(state.markets[order.instrument], order, reason)
    return found


def _order(market: Market, order: VenueOrder, reason: str | None) -> dict[str, object]:
    average = None
    if order.filled:
        average = _quotient(market.spec.price(order.filled_cost) / order.filled)
    return {
        "status": order.status.value,
        "filled_qty": number(market.spec.qty(order.filled)),
        "avg_price": average,
        "reject_reason": reason,
    }


def _fill(played: "Played", report: OrderFilled) -> dict[str, object]:
    t = report.ts - played.document.epoch_ns
    found: dict[str, object] = {
        "t": t,
        "t_local": played.local(t),
        "order": report.client_order_id,
        "price": to_text(report.price),
        "qty": number(report.qty),
        "liquidity": report.liquidity.value,
        "fee": number(report.fee),
        "reason": report.reason.value,
    }
    told = played.slippage.get((report.instrument, report.trade_id))
    if told is not None:
        found["reference"] = number(told.reference)
        found["slippage_bps"] = number(Decimal(repr(round(told.slippage_bps, _BPS_PLACES))))
        found["slippage_parts"] = {key: number(Decimal(repr(round(p, _BPS_PLACES)))) for key, p in told.parts.items()}
        found["slippage_absent"] = list(told.absent)
    return found


def _symbol(played: "Played", instrument: str) -> str:
    return played.venue.state.markets[instrument].spec.symbol


def _positions(played: "Played", account: SimAccount) -> dict[str, object]:
    state = played.venue.state
    found: dict[str, object] = {}
    for held in account.open_holdings():
        market = state.markets[held.position.instrument]
        side = held.position.side
        key = market.spec.symbol if side is PositionSide.BOTH else f"{market.spec.symbol}:{side.value}"
        liquidation = margin.liquidation_price(state, account, market, held)
        found[key] = {
            "qty": number(held.qty),
            "entry_price": _entry(market, held),
            "realized_pnl": number(held.position.realized_pnl),
            "unrealized_pnl": number(margin.unrealized(market, held)),
            "liquidation_price": "0" if liquidation is None else _quotient(liquidation),
        }
    return found


def _entry(market: Market, held: Holding) -> str | None:
    price = held.position.entry_price(market.spec)
    return None if price is None else _quotient(price)


def _liquidation(played: "Played", report: Liquidated) -> dict[str, object]:
    return {
        "t": report.ts - played.document.epoch_ns,
        "symbol": _symbol(played, report.instrument),
        "side": report.side.value,
        "qty": number(report.qty),
        "mark": to_text(report.mark),
        "price": _quotient(report.price),
        "bankruptcy_price": number(report.bankruptcy_price),
        "fee": number(report.fee),
        "taken_over_qty": number(report.taken_over_qty),
    }


def _deleveragings(played: "Played") -> list[dict[str, object]]:
    """Return who gave up what, the scenario's own account first where several did at one instant."""
    found = [r for r in (*played.reports, *played.others) if isinstance(r, Deleveraged)]
    return [_deleveraging(played, report) for report in sorted(found, key=lambda report: report.ts)]


def _deleveraging(played: "Played", report: Deleveraged) -> dict[str, object]:
    return {
        "t": report.ts - played.document.epoch_ns,
        "account": report.account,
        "symbol": _symbol(played, report.instrument),
        "side": report.side.value,
        "qty": number(report.qty),
        "price": to_text(report.price),
    }


def _events_log(played: "Played") -> list[dict[str, object]]:
    start = played.document.epoch_ns
    log: list[tuple[int, dict[str, object]]] = []
    for report in played.reports:
        entry = _logged(report)
        if entry is not None:
            log.append((report.ts - start, entry))
    for note in played.notes:
        entry = {"type": note.kind}
        if note.instrument:
            entry["symbol"] = _symbol(played, note.instrument)
        if note.text:
            entry["text"] = note.text
        log.append((note.ts - start, entry))
    log.sort(key=lambda item: item[0])
    return [{"t": t, **entry} for t, entry in log]


_LOGGED: dict[type[Report], str] = {
    OrderTriggered: "triggered",
    OrderModified: "modified",
    ModifyRejected: "modify_rejected",
    CancelRejected: "cancel_rejected",
}


def _logged(report: Report) -> dict[str, object] | None:
    kind = _LOGGED.get(type(report))
    if kind is None:
        return None
    entry: dict[str, object] = {"type": kind, "order": report.client_order_id}  # type: ignore[attr-defined]
    if isinstance(report, ModifyRejected | CancelRejected):
        entry["reason"] = report.reason.value
    return entry


# Comparing


def differences(result: Mapping[str, object], expect: Mapping[str, object] | None) -> list[str]:
    """Return one line per difference. Raises ScenarioError for an expectation no result has a key for.

    Objects compare the keys the expectation gives, lists their length and items, `positions` the whole set of open
    positions. Texts that are numbers compare as numbers. Cash flows of one instant have no order among themselves; an
    asset that is not in the balances is zero.
    """
    found: list[str] = []
    for key, wanted in (expect or {}).items():
        path = join("expect", key)
        if key == "liquidation_count":
            liquidations = result["liquidations"]
            _compare(path, wanted, len(liquidations) if isinstance(liquidations, list) else None, found)
        elif key not in result:
            raise ScenarioError(path, "unknown key")
        else:
            if key in _SHAPES and not isinstance(wanted, _SHAPES[key]):
                raise ScenarioError(path, f"expected {_SHAPES[key].__name__}, got {wanted!r}")
            if key == "positions":
                _whole_set(path, wanted, result[key], found)
            _compare(path, wanted, _READINGS.get(key, _as_is)(path, wanted, result[key]), found)
    return found


_SHAPES: dict[str, type] = {
    "orders": dict,
    "positions": dict,
    "balances": dict,
    "fills": list,
    "cash_flows": list,
    "liquidations": list,
    "adl": list,
    "events_log": list,
    "errors": list,
    "participants": dict,
    "insurance": dict,
}


def _whole_set(path: str, wanted: object, got: object, found: list[str]) -> None:
    if isinstance(wanted, dict) and isinstance(got, dict):
        found.extend(f"{join(path, extra)}: open, not expected" for extra in got if extra not in wanted)


def _compare(path: str, wanted: object, got: object, found: list[str]) -> None:
    comparer = _COMPARERS.get(type(wanted)) if not isinstance(wanted, dict) else _objects
    if comparer is not None:
        comparer(path, wanted, got, found)
    elif wanted != got or isinstance(wanted, bool) is not isinstance(got, bool):
        found.append(f"{path}: expected {wanted!r}, got {got!r}")


def _objects(path: str, wanted: object, got: object, found: list[str]) -> None:
    assert isinstance(wanted, dict)
    if not isinstance(got, dict):
        found.append(f"{path}: expected an object, got {got!r}")
        return
    for key, value in wanted.items():
        if key in got:
            _compare(join(path, key), value, got[key], found)
        else:
            found.append(f"{join(path, key)}: expected {value!r}, got nothing")


def _lists(path: str, wanted: object, got: object, found: list[str]) -> None:
    assert isinstance(wanted, list)
    if not isinstance(got, list) or len(got) != len(wanted):
        found.append(f"{path}: expected {len(wanted)} items, got {len(got) if isinstance(got, list) else got!r}")
        return
    for index, (one, other) in enumerate(zip(wanted, got, strict=True)):
        _compare(join(path, index), one, other, found)


def _texts(path: str, wanted: object, got: object, found: list[str]) -> None:
    assert isinstance(wanted, str)
    if wanted == got or (isinstance(got, str) and _same_number(wanted, got)):
        return
    found.append(f"{path}: expected {wanted!r}, got {got!r}")


def _same_number(wanted: str, got: str) -> bool:
    try:
        one, other = parse_decimal(wanted, "expect"), parse_decimal(got, "result")
    except NotANumberError:
        return False
    given, places = -int(one.as_tuple().exponent), -int(other.as_tuple().exponent)
    is_endless = len(other.as_tuple().digits) >= _QUOTIENT.prec - 1 or places >= _COST_PLACES
    if not is_endless or given < 2:
        return one == other
    digit = ONE.scaleb(-min(given, places, _COST_PLACES - 1))
    return other.quantize(digit) == one.quantize(digit)


def _as_is(path: str, wanted: object, got: object) -> object:
    return got


def _with_zeros(path: str, wanted: object, got: object) -> object:
    return {**dict.fromkeys(wanted, "0"), **got} if isinstance(wanted, dict) and isinstance(got, dict) else got


def _as_wanted(path: str, wanted: object, got: object) -> object:
    """Return the cash flows with those of one instant in the order of `wanted`."""
    if not isinstance(wanted, list) or not isinstance(got, list):
        return got
    left, found = list(got), []
    for flow in wanted[: len(got)]:
        together = [other for other in left if other["t"] == left[0]["t"]]
        same = next((other for other in together if _agrees(path, flow, other)), together[0])
        left.remove(same)
        found.append(same)
    return found + left


def _agrees(path: str, wanted: object, got: object) -> bool:
    found: list[str] = []
    _compare(path, wanted, got, found)
    return not found


_READINGS: dict[str, Callable[[str, object, object], object]] = {"cash_flows": _as_wanted, "balances": _with_zeros}
_COMPARERS: dict[type, Callable[[str, object, object, list[str]], None]] = {list: _lists, str: _texts}
