"""A compiled strategy's orders against the same orders as commands to the venue's own objects: the same in the end."""

from decimal import Decimal

import pytest
from compiled_market import FEES, SPECS, Act, Heard, Tape, follow, make_script, make_tape, play_venue, script_state

from sim.compiled_run import REASONS, CompiledRun
from sim.kernel import layout
from sim.kernel.desk import DONE
from sim.latency import Latencies
from venues.model.account import Account
from venues.model.fill import Liquidity

# Enough for everything; refused orders and liquidations; liquidations all the time.
BALANCES = {"rich": Decimal(10_000_000), "tight": Decimal(25), "poor": Decimal(8)}
MODELS = ("risk_averse", "power_2", "risk_averse", "log")
WAYS = ((300, 50), (1, 1), (300, 50), (0, 900))
"""Entry and response latency in ns; the market's events are 0 to 1,000 ns apart."""

_LIQUIDITY = (Liquidity.MAKER.value, Liquidity.TAKER.value, Liquidity.NONE.value)


def play_compiled(
    tape: Tape, acts: list[Act], balance: Decimal, entry_ns: int, response_ns: int, model: str, rules: str
) -> Heard:
    state = script_state(acts)
    account = Account("a", "V", {"USDT": balance})
    latencies = Latencies.constant(entry_ns, response_ns)
    run = CompiledRun(SPECS, account, FEES, follow, state, rules, model, latencies, start_ns=0)
    result = run.run([tape.rows(7)])
    fills = [
        (ns, tag, ticks, lots, _LIQUIDITY[liquidity], REASONS[reason].value)
        for ns, _, _, _, ticks, lots, liquidity, reason, tag, _ in result.fills.tolist()
    ]
    seen = dict(enumerate(state.seen.tolist()))
    ends = {order: end for order, (status, end, _) in seen.items() if status == DONE}
    filled = {order: lots for order, (_, _, lots) in seen.items() if lots}
    return Heard(fills, ends, filled, result.positions, result.balances)


@pytest.mark.parametrize("rules", ["binance_usdm", "cme", "bybit_linear"])
@pytest.mark.parametrize("balance", BALANCES)
def test_the_same_script_ends_the_same(rules: str, balance: str) -> None:
    """Fills with time, price, lots, liquidity and reason; how every order ended; positions and money to the digit."""
    total: dict[int, int] = {}
    for seed in range(24):
        tape = make_tape(seed, 250)
        acts = make_script(seed, 60, tape.end_ns)
        how = (tape, acts, BALANCES[balance], *WAYS[seed % 4], MODELS[seed % 4], rules)
        expected, found = play_venue(*how), play_compiled(*how)
        for one, other in zip(expected.fills, found.fills, strict=False):
            assert one == other, f"seed {seed}"
        assert found == expected, f"seed {seed}"
        for end in expected.ends.values():
            total[end] = total.get(end, 0) + 1
    assert set(total) == {layout.FILLED, layout.EXPIRED, layout.CANCELED, layout.REJECTED}
