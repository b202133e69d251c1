"""One change of a book that is told order by order."""

from attrs import frozen

from sim.rows import ADD, DELETE, EXECUTE, MODIFY
from venues.model.order import Side

CHANGES = {"order_add": ADD, "order_modify": MODIFY, "order_delete": DELETE, "order_execute": EXECUTE}


@frozen
class BookOrder:
    """What happens to the order `number` (1 or more) of the market, `name` for people. `kind` is one of CHANGES.

    `lots` is the quantity added, left after a modify, taken away or traded; None is all of it. A side or price that is
    None is the order's own; an order that is added has all three.
    """

    instrument: str
    kind: int
    number: int
    name: str
    side: Side | None
    ticks: int | None
    lots: int | None
