"""Decides margin, profit, liquidation and bankruptcy of inverse contracts: quoted in USD, margined in the coin.

Sources: Binance COIN-M FAQ ceccfcfb4e3a45e3b48b0b1bb1a8ae46 (liquidation price), `GET /dapi/v2/leverageBracket` (floors
and caps in coin). `contracts` is signed, `contract_size` is quote money per contract (100 for BTCUSD, 10 for others).
Money and notional are in the coin.
"""

from collections.abc import Sequence
from decimal import Decimal

from venues.model.instrument import Bracket
from venues.model.money import ONE, ZERO
from venues.rules import brackets, checks
from venues.rules.balance_root import Exposure, root
from venues.rules.binance_margin import Leg, check_legs


def notional(contracts: Decimal, contract_size: Decimal, price: Decimal) -> Decimal:
    """Return |contracts| x contract_size / price, in coin. Raises BadValueError."""
    value = abs(checks.finite(contracts, "contracts")) * checks.positive(contract_size, "contract_size")
    return value / checks.positive(price, "price")


def maintenance_margin(table: Sequence[Bracket], contracts: Decimal, contract_size: Decimal, mark: Decimal) -> Decimal:
    """Return the maintenance margin in coin; `table` has its floors, caps and amounts in coin. Raises BadValueError."""
    return brackets.maintenance_margin(table, notional(contracts, contract_size, mark))


def initial_margin(contracts: Decimal, contract_size: Decimal, mark: Decimal, leverage: Decimal) -> Decimal:
    """Return notional / leverage, in coin. Raises BadValueError."""
    return notional(contracts, contract_size, mark) / checks.leverage(leverage, "leverage")


def unrealized_pnl(contracts: Decimal, contract_size: Decimal, entry_price: Decimal, mark_price: Decimal) -> Decimal:
    """Return contracts x contract_size x (1/entry - 1/mark), in coin. Raises BadValueError."""
    value = checks.finite(contracts, "contracts") * checks.positive(contract_size, "contract_size")
    return value / checks.positive(entry_price, "entry_price") - value / checks.positive(mark_price, "mark_price")


def liquidation_price(
    wallet: Decimal,
    contract_size: Decimal,
    legs: Sequence[Leg],
    others_maintenance: Decimal = ZERO,
    others_pnl: Decimal = ZERO,
) -> Decimal | None:
    """Return the mark price at which the coin balance equals the maintenance margin, None when no price does.

    `legs` as in `binance_margin.liquidation_price`, `qty` in contracts. With x = 1/price, balance and margin are
    straight lines again: wallet + C/entry - C x = |C| x mmr - cum, where C = contracts x contract_size. A short whose
    coin outweighs it has no price. Raises LiquidationInputError, BadValueError.
    """
    base = checks.finite(wallet - others_maintenance + others_pnl, "wallet")
    checks.positive(contract_size, "contract_size")
    check_legs(legs)
    exposures = []
    for leg in legs:
        value = leg.qty * contract_size
        base += value / leg.entry_price
        exposures.append(Exposure(-value, leg.brackets, ONE / leg.entry_price))
    x = root(base, exposures)
    return None if x is None else ONE / x


def bankruptcy_price(
    contracts: Decimal, contract_size: Decimal, entry_price: Decimal, wallet: Decimal
) -> Decimal | None:
    """Return the price at which the position has eaten `wallet`, None for a short that no price bankrupts.

    1/price = 1/entry + wallet / (contracts x contract_size). Raises BadValueError.
    """
    value = checks.nonzero(contracts, "contracts") * checks.positive(contract_size, "contract_size")
    x = ONE / checks.positive(entry_price, "entry_price") + checks.finite(wallet, "wallet") / value
    return ONE / x if x > ZERO else None
