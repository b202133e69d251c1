"""Decides which balance of an account is believed: the venue's word where it gave one, our own book otherwise."""

from collections.abc import Mapping
from decimal import Decimal

Balances = dict[str, dict[str, Decimal]]
"""By account and asset."""


def believe(
    reported: Balances, reported_ns: dict[str, dict[str, int]], ts: int, account: str, balances: Mapping[str, Decimal]
) -> None:
    """Take what a venue said as of `ts`, unless something newer is known: reports may overtake each other.

    What is no number is known no more.
    """
    known = reported.setdefault(account, {})
    since = reported_ns.setdefault(account, {})
    for asset, balance in balances.items():
        if ts < since.get(asset, ts):
            continue
        since[asset] = ts
        if balance.is_finite():
            known[asset] = balance
        else:
            known.pop(asset, None)


def balance_of(reported: Balances, booked: Balances, account: str, asset: str) -> Decimal | None:
    """Return the balance to go by, None when nobody told one."""
    balances = reported.get(account)
    if balances is not None and asset in balances:
        return balances[asset]
    balances = booked.get(account)
    return None if balances is None else balances.get(asset)
