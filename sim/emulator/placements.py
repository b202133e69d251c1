"""Decides which placements are the same one asked again: how often each client order id came, and whether for the same.

Counted is what arrives, before faults and rules have their say: a client that sends an order again because its answer
was lost is seen here, whether the venue took the first, the second, both or none.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from attrs import define

from sim.emulator.http_server import HttpRequest, HttpResponse

PATH: Final = "/emulator/placements"
PLACEMENTS_MAX: Final = 100_000
"""Client ids remembered; the oldest are forgotten first."""

_PLACES: Final = frozenset(
    {
        "POST /fapi/v1/order",
        "POST /fapi/v1/algoOrder",
        "POST /fapi/v1/batchOrders",
        "POST /api/v3/order",
        "POST /api/v3/order/cancelReplace",
        "WS order.place",
        "WS algoOrder.place",
        "WS order.cancelReplace",
    }
)
_IDS: Final = ("newClientOrderId", "clientAlgoId")
# Who asks and when, and what is wanted back: the same order may be asked for with others of them.
_NO_TERMS: Final = frozenset({"timestamp", "recvWindow", "signature", "apiKey", "newOrderRespType", "returnRateLimits"})

Terms = frozenset[tuple[str, str]]


@define
class _Asked:
    terms: Terms
    times: int = 1
    differs: bool = False


class Placements:
    """Every order that was asked for under a client id of the client's own."""

    def __init__(self) -> None:
        self._asked: dict[str, _Asked] = {}

    def note(self, method: str, path: str, parameters: Mapping[str, str]) -> None:
        """Count a request, in the words of a `Subject`, for each order that it places."""
        if f"{method} {path}" not in _PLACES:
            return
        for terms in _orders(parameters):
            name = next((terms[key] for key in _IDS if terms.get(key)), "")
            if name:
                self._count(name, frozenset((key, text) for key, text in terms.items() if key not in _NO_TERMS))

    def _count(self, name: str, terms: Terms) -> None:
        known = self._asked.get(name)
        if known is not None:
            known.times += 1
            known.differs = known.differs or known.terms != terms
            return
        self._asked[name] = _Asked(terms)
        if len(self._asked) > PLACEMENTS_MAX:
            del self._asked[next(iter(self._asked))]

    def listing(self) -> list[dict[str, Any]]:
        """Return each client id, the first first: how often it came, and whether other terms came with it later."""
        return [
            {"clientOrderId": name, "times": one.times, "differs": one.differs} for name, one in self._asked.items()
        ]


def _orders(parameters: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the orders of one request, each as texts; none of a list that is no JSON."""
    batch = parameters.get("batchOrders")
    if batch is None:
        return [dict(parameters)]
    try:
        rows = json.loads(batch)
    except (ValueError, RecursionError):
        return []
    if not isinstance(rows, list):
        return []
    return [{str(key): str(value) for key, value in row.items()} for row in rows if isinstance(row, dict)]


def answer(placements: Placements, request: HttpRequest) -> HttpResponse:
    """Answer a request about placements."""
    if request.method != "GET":
        return HttpResponse(405, msgspec.json.encode({"error": "GET only"}))
    return HttpResponse(200, msgspec.json.encode({"placements": placements.listing()}))
