"""Decides what an insurance fund receives and pays, and what is left for deleveraging.

Sources: Binance FAQ 360033525271 (liquidation protocols), Bybit help center "Insurance Fund": the fund takes a position
over at its bankruptcy price, keeps a surplus, fills a deficit, and never goes below zero; the rest is deleveraged.
"""

from decimal import ROUND_CEILING, Decimal

from attrs import frozen

from venues.model.money import ZERO, round_to_step
from venues.rules import checks


def clearance_fee(qty: Decimal, price: Decimal, rate: Decimal) -> Decimal:
    """Return the liquidation fee of the liquidated part: |qty| x trade price x the symbol's rate. It goes to the fund.

    None is charged on a deleveraged quantity. Raises BadValueError.
    """
    return abs(checks.finite(qty, "qty")) * checks.positive(price, "price") * checks.rate(rate, "rate")


@frozen
class FundChange:
    """What a fund of `balance` (afterwards) received or paid, and the quantity and money it could not bear."""

    balance: Decimal
    received: Decimal = ZERO
    paid: Decimal = ZERO
    uncovered: Decimal = ZERO
    adl_qty: Decimal = ZERO


def settle(balance: Decimal, amount: Decimal) -> FundChange:
    """Book a surplus (positive) or deficit (negative) of a liquidated collateral. The balance never goes below zero.

    `uncovered` is the part of a deficit beyond the balance. Raises BadValueError.
    """
    checks.not_negative(balance, "balance")
    if checks.finite(amount, "amount") >= ZERO:
        return FundChange(balance + amount, received=amount)
    paid = min(balance, -amount)
    return FundChange(balance - paid, paid=paid, uncovered=-amount - paid)


def take_over(
    balance: Decimal, qty: Decimal, bankruptcy_price: Decimal, exit_price: Decimal, lot_size: Decimal
) -> FundChange:
    """Book a position of signed `qty`, taken over at its bankruptcy price, that the fund could close at `exit_price`.

    What the fund cannot pay for is deleveraged at the bankruptcy price, in whole lots: `adl_qty`, unsigned. Nothing is
    uncovered then. Raises BadValueError.
    """
    checks.not_negative(balance, "balance")
    size = abs(checks.nonzero(qty, "qty"))
    lot = checks.positive(lot_size, "lot_size")
    move = checks.positive(exit_price, "exit_price") - checks.positive(bankruptcy_price, "bankruptcy_price")
    gain = qty * move
    if gain >= -balance:
        return settle(balance, gain)
    loss_per_unit = -gain / size
    adl = min(size, round_to_step(size - balance / loss_per_unit, lot, ROUND_CEILING))
    paid = min(balance, (size - adl) * loss_per_unit)
    return FundChange(balance - paid, paid=paid, adl_qty=adl)
