"""What people are shown of baskets' money and of legs that filled unevenly: plain data, numbers as decimal texts."""

from typing import Any

from actors.atomic_executor import AtomicExecutor
from actors.basket import Basket
from actors.basket_cost import cost_of
from actors.basket_records import PartialFill
from daemon.admin.desk import DeskView, actor
from venues.model.money import to_text


def cost(view: DeskView, one: Basket) -> dict[str, str]:
    """What a basket cost and made so far, in quote money."""
    executor = actor(view, "atomic_executor", AtomicExecutor)
    found = cost_of(view.now(), one, executor.instruments, executor.mid)
    names = ("slippage", "legging", "rollback", "fees", "realised", "marked")
    return {name: to_text(getattr(found, name)) for name in names}


def incidents(view: DeskView, limit: int) -> dict[str, Any]:
    """Legs that filled unevenly, newest first: why, what was done, what it cost; only the last are remembered."""
    known = actor(view, "atomic_executor", AtomicExecutor).state.incidents
    found = [_incident(one) for one in reversed(known[-limit:])]
    return {"incidents": found, "left_out": len(known) - len(found)}


def _incident(one: PartialFill) -> dict[str, Any]:
    return {
        "ts": one.ts,
        "basket": one.basket_id,
        "strategy": one.strategy,
        "began_ns": one.began_ns,
        "cause": one.cause,
        "net": {base: to_text(net) for base, net in one.net.items()},
        "unhedged": to_text(one.unhedged),
        "actions": list(one.actions),
        "outcome": one.outcome,
        "loss": to_text(one.loss),
    }
