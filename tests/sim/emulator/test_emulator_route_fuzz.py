"""Whatever is asked of any route, the answer is Binance's kind of answer: nothing asked makes the emulator fail.

`BASISD_FUZZ_REQUESTS` is the number of requests; without it a run that a test can afford.
"""

import json
import os
import re
from decimal import Decimal
from random import Random
from urllib.parse import quote

import pytest
import trio

from sim.emulator.faults import Faults
from sim.emulator.gate import Gate
from sim.emulator.host import Host, HostSettings
from sim.emulator.http_server import HttpRequest, HttpResponse
from sim.emulator.listen_keys import ListenKeys
from sim.emulator.market_source import SyntheticPace
from sim.emulator.routes import RateLimit, Security, routes
from sim.emulator.signatures import Credentials
from venues.binance.sign import signer_of
from venues.model.money import desk_arithmetic

COUNT = int(os.environ.get("BASISD_FUZZ_REQUESTS", "2000"))
KEY, SECRET = "k" * 64, "s" * 64
SECOND = 1_000_000_000
# Larger than any of these can use up: what is tried are the routes.
LIMITS = [RateLimit("REQUEST_WEIGHT", "MINUTE", 1, 10**12), RateLimit("ORDERS", "MINUTE", 1, 10**12)]
BINANCES_CODE = re.compile(r"-[1-9][0-9]{3,4}")

SIDES = ["BUY", "SELL"]
TYPES = ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]
NUMBERS = ["0", "1", "2", "5", "100", "1000", "99999999999999999999", "-1", "1.5", "", "x"]
FLAGS = ["true", "false", "TRUE", "1", ""]
AMOUNTS = ["0.001", "0.01", "1", "0.0001", "100", "1e3", "0", "-1", "99999999999999999999.5", "0.00000000000000000001"]
IDS = ["a-1", "a-2", "a-3", "x" * 36, "x" * 37, "ü", ""]

OFTEN = ["order", "algoOrder", "batchOrders", "openOrders"]
NAMED_BY = {"order": ["orderId"], "algoOrder": ["algoId"], "batchOrders": ["orderIdList"]}


class World:
    """The emulator without sockets, at a time that the test moves."""

    def __init__(self, venue: str, seed: int) -> None:
        self.random = Random(seed)
        self.ns = 0
        settings = HostSettings(venue, seed=seed, pace=SyntheticPace(step_ns=SECOND))
        self.host = Host(settings, wall=lambda: 1_790_000_000 * SECOND, monotonic=lambda: self.ns)
        self.routes = routes(venue)
        self.gate = Gate(self.host, self.routes, Credentials(KEY, SECRET), LIMITS, ListenKeys(), Faults())
        self.signer = signer_of(SECRET)
        self.weights = [8 if path.rpartition("/")[2] in OFTEN else 1 for _, path in self.routes]
        self.codes: dict[int, int] = {}
        self.accepted: dict[str, int] = {}
        self.ids: list[int] = []
        self.right: dict[str, object] = {}
        self.move(30 * SECOND)

    def move(self, ns: int) -> None:
        self.ns += ns
        self.host.advance(self.host.now())

    def values(self) -> dict[str, list[str]]:
        """Return what each parameter may be, right or wrong."""
        now_ms = self.host.now() // 1_000_000
        symbol = self.random.choice(list(self.host.listings))
        listing = self.host.listings[symbol]
        tick = listing.spec.tick_size
        book = self.host.book(listing.id)
        best = tick * (book.bids[0][0] if book is not None and book.bids else 1)
        near = (best * Decimal(self.random.choice(["0.9", "0.99", "1", "1.01", "1.1"])) // tick) * tick
        times = [str(now_ms + s * 1_000) for s in (-604_800, -3_600, -60, 0, 60, 700, 86_400)] + NUMBERS
        known = [str(one) for one in range(1, 5)]
        prices = [f"{near:f}", f"{near + tick / 3:f}", *AMOUNTS]
        return {
            "symbol": [symbol, symbol, symbol, symbol.lower(), "NOSUCH", ""],
            "pair": ["BTCUSDT", "ETHUSDT", "X"],
            "side": [*SIDES, *SIDES, "buy", "HOLD"],
            "type": [*TYPES, "LIMIT", "LIMIT", "MARKET", "OTHER", "1"],
            "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD", "RPI", "GTE_GTC", "XXX"],
            "quantity": AMOUNTS,
            "price": prices,
            "triggerPrice": prices,
            "stopPrice": prices,
            "activatePrice": prices,
            "activationPrice": prices,
            "callbackRate": ["0.1", "1", "10", "20", "21", "x"],
            "newClientOrderId": IDS,
            "origClientOrderId": IDS,
            "clientAlgoId": IDS,
            "orderId": [*known, *NUMBERS],
            "algoId": [*known, *NUMBERS],
            "fromId": [*known, *NUMBERS],
            "modifyId": NUMBERS,
            "positionSide": ["BOTH", "LONG", "SHORT", "X"],
            "reduceOnly": FLAGS,
            "closePosition": FLAGS,
            "priceProtect": FLAGS,
            "dualSidePosition": FLAGS,
            "multiAssetsMargin": FLAGS,
            "feeBurn": FLAGS,
            "workingType": ["MARK_PRICE", "CONTRACT_PRICE", "X"],
            "priceMatch": ["NONE", "OPPONENT", "OPPONENT_5", "QUEUE", "QUEUE_20", "X"],
            "selfTradePreventionMode": ["NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "X"],
            "goodTillDate": times,
            "newOrderRespType": ["ACK", "RESULT", "FULL"],
            "algoType": ["CONDITIONAL", "X"],
            "leverage": ["1", "20", "125", "150", "0", "x"],
            "marginType": ["ISOLATED", "CROSSED", "X"],
            "amount": AMOUNTS,
            "countdownTime": ["0", "1000", "120000", "-5", "x"],
            "startTime": times,
            "endTime": times,
            "limit": ["1", "5", "10", "50", "500", "1000", "1500", "0", "1001", "x"],
            "page": NUMBERS,
            "interval": ["1s", "1m", "5m", "1h", "1d", "1M", "2x"],
            "period": ["5m", "1d", "x"],
            "contractType": ["PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER", "X"],
            "incomeType": ["FUNDING_FEE", "COMMISSION", "REALIZED_PNL", "X"],
            "autoCloseType": ["LIQUIDATION", "ADL", "X"],
            "asset": ["USDT", "BNB", "X"],
            "downloadId": NUMBERS,
            "listenKey": IDS,
            "orderIdList": ["[1,2]", "[]", "[", "{}", '["1"]', "[null]", "1", "[" + "1," * 20 + "1]"],
            "origClientOrderIdList": ['["a-1","a-2"]', "[]", "[1]", "x"],
            "batchOrders": [json.dumps([self.order(prices) for _ in range(n)]) for n in (1, 2, 5, 6)]
            + ["[]", "[1]", "{}", "[{}]", "[[]]", "null", "x", '[{"symbol":{}}]'],
            "quoteOrderQty": AMOUNTS,
            "symbols": [f'["{symbol}"]', "[]", "[1]", "x"],
        }

    def good(self, name: str, path: str) -> str | None:
        """Return a value of a parameter that is likely right."""
        now_ms = self.host.now() // 1_000_000
        symbol = next(iter(self.host.listings))
        listing = self.host.listings[symbol]
        book = self.host.book(listing.id)
        best = listing.spec.tick_size * (book.bids[0][0] if book is not None and book.bids else 1)
        kinds = ["STOP_MARKET", "TAKE_PROFIT_MARKET", "STOP"] if "algo" in path else ["LIMIT"]
        price = f"{best * Decimal(self.random.choice(['0.98', '1', '1.02'])):.0f}"
        some_id = str(self.random.choice(self.ids)) if self.ids else "1"
        found = {
            "symbol": symbol,
            "pair": symbol,
            "side": self.random.choice(SIDES),
            "type": self.random.choice(kinds),
            "quantity": self.random.choice(["0.01", "0.5"]),
            "price": price,
            "triggerPrice": price,
            "timeInForce": "GTC",
            "interval": "1m",
            "contractType": "PERPETUAL",
            "algoType": "CONDITIONAL",
            "newClientOrderId": f"n-{self.ns}-{self.random.randint(0, 9)}",
            "orderId": some_id,
            "algoId": some_id,
            "orderIdList": f"[{some_id}]",
            "period": "5m",
            "startTime": str(now_ms - 60_000),
            "endTime": str(now_ms),
            "batchOrders": json.dumps([{**self.right, "quantity": "0.02"}] * 2),
            "leverage": self.random.choice(["5", "20"]),
            "limit": "5",
            "recvWindow": "5000",
        }
        return found.get(name)

    def order(self, prices: list[str]) -> dict[str, object]:
        pick = self.random.choice
        found: dict[str, object] = {
            "symbol": pick([*self.host.listings, "NOSUCH"]),
            "side": pick([*SIDES, 1]),
            "type": pick(TYPES),
            "quantity": pick([*AMOUNTS, 0.01, 1]),
            "price": pick(prices),
            "timeInForce": "GTC",
            "orderId": pick([1, "2", None]),
            "origClientOrderId": pick(IDS),
        }
        return {name: value for name, value in found.items() if self.random.random() < 0.9}

    def likely(self, method: str, path: str) -> list[str]:
        """Return the parameters without which a route does not get far."""
        names = ["symbol"]
        if method != "POST":
            names += NAMED_BY.get(path.rpartition("/")[2], [])
        if method in ("POST", "PUT") and path.rpartition("/")[2] in ("order", "test", "algoOrder"):
            names += ["side", "type", "quantity", "price", "timeInForce"]
            names += ["algoType", "triggerPrice"] if path.endswith("algoOrder") else []
        if "batchOrders" in path and method != "DELETE":
            names.append("batchOrders")
        if "lines" in path or "/data/" in path:
            names += ["interval", "pair", "contractType", "period"]
        return names

    async def ask(self) -> None:
        """Ask one thing, and hold the answer to what every answer is."""
        random, values = self.random, self.values()
        [((method, path), route)] = random.choices(list(self.routes.items()), self.weights)
        names = set(random.sample(sorted(values), random.randint(0, 5))) | {
            name for name in self.likely(method, path) if random.random() < 0.9
        }
        chosen: dict[str, str] = {}
        for name in sorted(names):
            good = self.good(name, path) if random.random() < 0.8 else None
            chosen[name] = random.choice(values[name]) if good is None else good
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in chosen.items())
        if route.security is Security.SIGNED:
            query += ("&" if query else "") + f"timestamp={self.host.now() // 1_000_000}"
            query += f"&signature={self.signer.sign(query)}"
        request = HttpRequest(method, path, query, {"x-mbx-apikey": KEY}, b"", "10.0.0.1")
        answer = await self.gate.handle(request)
        assert isinstance(answer, HttpResponse)
        told = json.loads(answer.body)
        if answer.status == 200:
            self.codes[0] = self.codes.get(0, 0) + 1
            if isinstance(told, dict) and "NEW" in (told.get("status"), told.get("algoStatus")):
                self.ids = [*self.ids[-2:], int(told["orderId"] if "orderId" in told else told["algoId"])]
                self.right = {**chosen, "orderId": self.ids[-1]}
            # Spot answers with a list of what a cancel of all has cancelled.
            first = told[0] if isinstance(told, list) and told else told
            if isinstance(first, dict) and ("orderId" in first or "algoId" in first):
                self.accepted[method] = self.accepted.get(method, 0) + 1
            return
        assert answer.status < 500, f"{method} {path}?{query}: {answer.body!r}"
        assert BINANCES_CODE.fullmatch(str(told["code"])), answer.body
        assert told["msg"]
        self.codes[told["code"]] = self.codes.get(told["code"], 0) + 1


@pytest.mark.parametrize("venue", ["usdm", "spot"])
def test_whatever_is_asked_the_answer_is_one_of_binance(venue, caplog):
    world = World(venue, seed=11)

    async def play() -> None:
        for number in range(COUNT):
            await world.ask()
            assert not caplog.records, caplog.text
            if number % 20 == 0:
                world.move(world.random.choice([0, SECOND // 10, SECOND, 10 * SECOND]))

    with desk_arithmetic():
        trio.run(play)
    assert world.codes[0] > COUNT / 10
    assert len(world.codes) > 10
    # It went as far as orders that were taken, asked for and cancelled.
    assert {"POST", "GET", "DELETE"} <= set(world.accepted)
