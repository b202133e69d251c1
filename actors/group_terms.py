"""Decides whether a bracket or a one-cancels-other pair can be begun, with one typed reason when it cannot."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

from actors.group_messages import BracketRequest, GroupState, OcoRequest
from actors.group_plan import Group
from venues.model.instrument import Instrument, OffGridError
from venues.model.money import ZERO

GroupRequest = BracketRequest | OcoRequest


class GroupDeny(StrEnum):
    DUPLICATE = "duplicate"
    UNKNOWN_INSTRUMENT = "unknown_instrument"
    SPOT = "spot"
    BAD_QTY = "bad_qty"
    BAD_PRICE = "bad_price"
    WRONG_SIDE = "wrong_side"
    NO_POSITION = "no_position"
    TOO_MANY = "too_many"
    KILLED = "killed"
    STOPPING = "stopping"


class GroupDeniedError(ValueError):
    """A group cannot be begun, and why."""

    def __init__(self, reason: GroupDeny, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


def to_group(request: GroupRequest, instruments: Mapping[str, Instrument]) -> Group:
    """Return the group of a request that makes sense. Raises GroupDeniedError naming what does not."""
    spec = instruments.get(request.instrument)
    if spec is None:
        raise GroupDeniedError(GroupDeny.UNKNOWN_INSTRUMENT, request.instrument)
    if spec.is_spot:
        # Nothing there keeps two exits from selling more than is held.
        raise GroupDeniedError(GroupDeny.SPOT, f"{spec.id}: a spot market knows no reduce-only")
    try:
        lots = spec.lots(request.qty)
    except (OffGridError, ArithmeticError) as error:
        raise GroupDeniedError(GroupDeny.BAD_QTY, f"qty: {error}") from None
    if lots <= 0 or request.qty < spec.min_qty:
        raise GroupDeniedError(GroupDeny.BAD_QTY, f"qty: {request.qty}")
    entry = request.entry_price if isinstance(request, BracketRequest) else None
    prices = {
        "stop_trigger": request.stop_trigger,
        "stop_price": request.stop_price,
        "entry_price": entry,
        "target_price": request.target_price,
    }
    for name, price in prices.items():
        if price is not None:
            _check_price(name, price, spec)
    _check_order(request, entry)
    group = Group(
        request.group_id,
        request.strategy,
        request.account,
        request.instrument,
        request.side,
        request.position_side,
        request.qty,
        request.stop_trigger,
        request.target_price,
        request.stop_price,
        request.trigger_on_mark,
    )
    if isinstance(request, BracketRequest):
        group.entry_price, group.tif, group.expire_ns = entry, request.tif, request.expire_ns
    else:
        group.held, group.state = request.qty, GroupState.PROTECTED
    return group


def _check_price(name: str, price: Decimal, spec: Instrument) -> None:
    try:
        ticks = spec.ticks(price)
    except (OffGridError, ArithmeticError) as error:
        raise GroupDeniedError(GroupDeny.BAD_PRICE, f"{name}: {error}") from None
    if ticks <= 0:
        raise GroupDeniedError(GroupDeny.BAD_PRICE, f"{name}: {price} is not positive")


def _check_order(request: GroupRequest, entry: Decimal | None) -> None:
    """The stop lies on the losing side of entry and target."""
    sign = request.side.sign
    if (request.target_price - request.stop_trigger) * sign <= ZERO:
        raise GroupDeniedError(
            GroupDeny.WRONG_SIDE, f"stop_trigger: {request.stop_trigger}, the target is {request.target_price}"
        )
    if entry is None:
        return
    for name, price in (("stop_trigger", request.stop_trigger), ("target_price", request.target_price)):
        ahead = (price - entry) * sign * (1 if name == "target_price" else -1)
        if ahead <= ZERO:
            raise GroupDeniedError(GroupDeny.WRONG_SIDE, f"{name}: {price}, the entry is {entry}")
