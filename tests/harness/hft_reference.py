"""Plays events with hftbacktest 2.4.4, in its own interpreter: one JSON request a line in, one JSON answer a line out.

Nothing of the project is imported here. `events` names an .npz whose `data` are rows of hftbacktest's own dtype.

| mode | request | answer |
|---|---|---|
| play | settings, `orders` in order of time | what every order came to, the client's state, `error` |
| quote | settings, `repeats`, `interval_ns`, `limit_lots` | fills of a two-sided quoting loop, seconds of each run |
| elapse | settings, `repeats`, `interval_ns` | seconds of each run of an empty loop |

An order is [local_ns, action, id, side, ticks, lots, tif, type] in hftbacktest's numbers. Settings: `tick`, `lot`,
`entry_ns`, `response_ns`, `exchange` (whole: NoPartialFillExchange, partial), `depth` (hash, roi), `maker_fee` and
`taker_fee` as shares of the value. The queue model is always the risk-averse one.
Fills come sorted: hftbacktest goes through a client's orders in another order every time. Lines that are no JSON are
its own warnings.
"""

import json
import sys
from time import perf_counter
from typing import Any

import numpy as np
from hftbacktest import (
    BUY_EVENT,
    EXCH_EVENT,
    LOCAL_EVENT,
    BacktestAsset,
    HashMapMarketDepthBacktest,
    ROIVectorMarketDepthBacktest,
)
from hftbacktest.types import event_dtype
from numba import njit

SUBMIT, CANCEL, MODIFY = range(3)
BUY, SELL = 1, -1
EXPIRED, FILLED, CANCELED = 2, 3, 4
GTX, LIMIT = 1, 0
_CUSTOM = 100

STATUSES = ("none", "accepted", "expired", "filled", "canceled", "partially_filled", "rejected")
"""hftbacktest/order.py: the statuses by number."""

Request = dict[str, Any]


@njit
def play(hbt, local_ns, actions, ids, sides, ticks, lots, tifs, types, tick, lot, codes):  # type: ignore[no-untyped-def]
    """Send each order at its local time, then play to the end; return hftbacktest's last code (1: end of data)."""
    code = hbt.elapse(0)
    for i in range(len(local_ns)):
        if local_ns[i] > hbt.current_timestamp:
            code = hbt.elapse(local_ns[i] - hbt.current_timestamp)
            if code > 1:
                return code
        price, qty = ticks[i] * tick, lots[i] * lot
        if actions[i] == CANCEL:
            codes[i] = hbt.cancel(0, ids[i], False)
        elif actions[i] == MODIFY:
            codes[i] = hbt.modify(0, ids[i], price, qty, False)
        elif sides[i] == BUY:
            codes[i] = hbt.submit_buy_order(0, ids[i], price, qty, tifs[i], types[i], False)
        else:
            codes[i] = hbt.submit_sell_order(0, ids[i], price, qty, tifs[i], types[i], False)
    while code == 0:
        code = hbt.elapse(1_000_000_000)
    return code


@njit
def results(hbt, out):  # type: ignore[no-untyped-def]
    """Write id, status, ticks, is_maker, venue_ns and quantities of the client's orders; return how many."""
    values = hbt.orders(0).values()
    count = 0
    while values.has_next():
        order = values.get()
        out[count, 0] = order.order_id
        out[count, 1] = order.status
        out[count, 2] = order.exec_price_tick
        out[count, 3] = order.arr[0].maker
        out[count, 4] = order.exch_timestamp
        out[count, 5] = round(order.exec_qty * 1e9)
        out[count, 6] = round(order.leaves_qty * 1e9)
        count += 1
    return count


@njit
def elapse(hbt, interval_ns):  # type: ignore[no-untyped-def]
    """Do nothing, every `interval_ns`."""
    steps = 0
    while hbt.elapse(interval_ns) == 0:
        steps += 1
    return steps


@njit
def quote(hbt, interval_ns, lot, limit_lots, out):  # type: ignore[no-untyped-def]
    """Keep one lot post-only at each touch within the position limit; write fills, return how many."""
    count, next_id = 0, 1
    while hbt.elapse(interval_ns) == 0:
        depth = hbt.depth(0)
        bid, ask = depth.best_bid_tick, depth.best_ask_tick
        tick = depth.tick_size
        has_bid = has_ask = False
        values = hbt.orders(0).values()
        while values.has_next():
            order = values.get()
            if order.status == FILLED:
                out[count, 0], out[count, 1] = order.exch_timestamp, order.side
                out[count, 2] = order.exec_price_tick
                count += 1
            elif order.status in (EXPIRED, CANCELED):
                continue
            elif order.side == BUY and order.price_tick == bid:
                has_bid = True
            elif order.side == SELL and order.price_tick == ask:
                has_ask = True
            elif order.cancellable:
                hbt.cancel(0, order.order_id, False)
        hbt.clear_inactive_orders(0)
        held = round(hbt.position(0) / lot)
        if not has_bid and held < limit_lots:
            hbt.submit_buy_order(0, next_id, bid * tick, lot, GTX, LIMIT, False)
            next_id += 1
        if not has_ask and held > -limit_lots:
            hbt.submit_sell_order(0, next_id, ask * tick, lot, GTX, LIMIT, False)
            next_id += 1
    return count


def backtest(request: Request, events: Any) -> Any:
    """Return a new backtest of the events under the request's settings."""
    asset = (
        BacktestAsset()
        .data(events)
        .linear_asset(1.0)
        .constant_order_latency(request["entry_ns"], request["response_ns"])
        .risk_adverse_queue_model()
        .trading_value_fee_model(request["maker_fee"], request["taker_fee"])
        .tick_size(request["tick"])
        .lot_size(request["lot"])
    )
    asset = asset.partial_fill_exchange() if request["exchange"] == "partial" else asset.no_partial_fill_exchange()
    if request["depth"] == "hash":
        return HashMapMarketDepthBacktest([asset])
    prices = events["px"][events["px"] > 0.0]
    asset = asset.roi_lb(float(prices.min())).roi_ub(float(prices.max()))
    return ROIVectorMarketDepthBacktest([asset])


def load(request: Request, last_ns: int = 0) -> Any:
    """Return the events and, where `last_ns` is given, one at that time or later that means nothing to anyone.

    hftbacktest's clock stands still behind the last event, and orders sent then would keep its time.
    """
    events = np.load(request["events"])["data"]
    if events.dtype != event_dtype:
        raise TypeError(f"{request['events']}: rows are {events.dtype}, not hftbacktest's {event_dtype}")
    if not last_ns:
        return events
    end = np.zeros(1, event_dtype)
    end["ev"] = _CUSTOM | EXCH_EVENT | LOCAL_EVENT | BUY_EVENT
    end["exch_ts"] = end["local_ts"] = max(last_ns, int(events["exch_ts"].max()), int(events["local_ts"].max()))
    return np.concatenate([events, end])


def answer_play(request: Request) -> Request:
    script = request["orders"]
    columns = [np.array([order[i] for order in script], np.int64) for i in range(8)]
    slack_ns = 1 + request["entry_ns"] + request["response_ns"]
    events = load(request, slack_ns + max((order[0] for order in script), default=0))
    hbt = backtest(request, events)
    codes = np.zeros(len(script), np.int64)
    local_ns, actions, ids, sides, ticks, lots, tifs, types = columns
    bytes_of = tifs.astype(np.uint8), types.astype(np.uint8)
    arguments = (local_ns, actions, ids.astype(np.uint64), sides, ticks, lots, *bytes_of)
    error = play(hbt, *arguments, request["tick"], request["lot"], codes)
    out = np.zeros((len(script) + 1, 7), np.int64)
    count = results(hbt, out)
    state = hbt.state_values(0)
    lot = request["lot"] * 1e9
    told = {
        "error": int(error) if error > 1 else 0,
        "codes": codes.tolist(),
        "orders": [
            {
                "id": row[0],
                "status": STATUSES[row[1]],
                "ticks": row[2],
                "is_maker": bool(row[3]),
                "venue_ns": row[4],
                "lots": round(row[5] / lot),
                "leaves": round(row[6] / lot),
            }
            for row in sorted(out[:count].tolist())
        ],
        "position": round(float(state.position) / request["lot"]),
        "fee": float(state.fee),
        "balance": float(state.balance),
        "trades": int(state.num_trades),
    }
    hbt.close()
    return told


def answer_quote(request: Request) -> Request:
    events = load(request)
    out = np.zeros((len(events), 3), np.int64)
    seconds = []
    count = 0
    for _ in range(request["repeats"] + 1):
        hbt = backtest(request, events)
        start = perf_counter()
        count = quote(hbt, request["interval_ns"], request["lot"], request["limit_lots"], out)
        seconds.append(perf_counter() - start)
        hbt.close()
    return {"rows": len(events), "seconds": seconds[1:], "warm_up": seconds[0], "fills": sorted(out[:count].tolist())}


def answer_elapse(request: Request) -> Request:
    events = load(request)
    seconds = []
    for _ in range(request["repeats"] + 1):
        hbt = backtest(request, events)
        start = perf_counter()
        elapse(hbt, request["interval_ns"])
        seconds.append(perf_counter() - start)
        hbt.close()
    return {"rows": len(events), "seconds": seconds[1:], "warm_up": seconds[0]}


ANSWERS = {"play": answer_play, "quote": answer_quote, "elapse": answer_elapse}


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(ANSWERS[request["mode"]](request)), flush=True)


if __name__ == "__main__":
    main()
