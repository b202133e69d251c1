"""The gate: who is let through to a route, and in which words the others are refused."""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote, urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from sim.emulator.fault_rules import rules_of
from sim.emulator.faults import Faults
from sim.emulator.gate import Gate, Login, WsAnswer
from sim.emulator.host import Host
from sim.emulator.http_server import HttpRequest, HttpResponse, NoAnswer
from sim.emulator.listen_keys import ListenKeys
from sim.emulator.routes import ApiError, Params, RateLimit, Route, Security, Session
from sim.emulator.signatures import Credentials, PublicKeyError, read_public_key
from venues.binance.sign import signer_of

KEY = "k" * 64
# The key, the text and the signature of Binance's own example: general info, "SIGNED endpoint examples".
SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
VECTOR = (
    "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000&timestamp=1591702613943"
)
VECTOR_SIGNATURE = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"
NOW_MS = 1591702613943
ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RSA = generate_private_key(65537, 2048)
LIMITS = [
    RateLimit("REQUEST_WEIGHT", "MINUTE", 1, 100),
    RateLimit("ORDERS", "MINUTE", 1, 6),
    RateLimit("ORDERS", "SECOND", 10, 4),
]


def private_pem(key: Any) -> str:
    return cast(bytes, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())).decode()


def public_pem(key: Any) -> bytes:
    return cast(bytes, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


class Venue:
    """A gate before routes that write down what came, at a time that stands until it is moved."""

    def __init__(
        self, *faults: Mapping[str, object], public: Any = None, speed: float = 1, venue: str = "usdm"
    ) -> None:
        self.ns = NOW_MS * 1_000_000
        self.came: list[tuple[str, dict[str, str]]] = []
        host = cast(Host, SimpleNamespace(now=lambda: self.ns, settings=SimpleNamespace(speed=speed, venue=venue)))
        credentials = Credentials(KEY, SECRET, None if public is None else read_public_key(public_pem(public)))
        order = (1, 1)
        routes = {
            ("GET", "/fapi/v1/ping"): Route(lambda s, p: {}),
            ("GET", "/fapi/v1/time"): Route(lambda s, p: {"serverTime": s.now_ms}, ws_method="time"),
            ("GET", "/fapi/v1/big"): Route(lambda s, p: {}, weight=lambda params: params.integer("limit")),
            ("POST", "/fapi/v1/listenKey"): Route(self.note, Security.KEY, ws_method="userDataStream.start"),
            ("POST", "/fapi/v1/order"): Route(self.note, Security.SIGNED, 0, order, "order.place"),
            ("DELETE", "/fapi/v1/order"): Route(self.note, Security.SIGNED, 1, (0, 0), "order.cancel"),
            ("GET", "/fapi/v1/account"): Route(self.note, Security.SIGNED, 5),
            ("POST", "/api/v3/order"): Route(self.note, Security.SIGNED, 0, order),
            ("GET", "/fapi/v1/refuse"): Route(self.refuse),
            ("GET", "/fapi/v1/break"): Route(self.broken),
            ("GET", "/fapi/v1/unprintable"): Route(lambda s, p: object()),
        }
        self.faults = Faults(rules_of({"faults": list(faults)}), now=lambda: self.ns)
        self.gate = Gate(host, routes, credentials, LIMITS, ListenKeys(), self.faults)

    def note(self, session: Session, params: Params) -> object:
        self.came.append((session.api_key, dict(params.values)))
        return {"price": Decimal("0.10"), "ok": True}

    def refuse(self, session: Session, params: Params) -> object:
        raise ApiError(-4014, "Price not increased by tick size.")

    def broken(self, session: Session, params: Params) -> object:
        raise ZeroDivisionError

    async def ask(
        self,
        method: str,
        path: str,
        query: str = "",
        body: str = "",
        *,
        key: str | None = None,
        content_type: str | None = "application/x-www-form-urlencoded",
        peer: str = "10.0.0.1",
    ) -> HttpResponse | NoAnswer:
        headers = {} if key is None else {"x-mbx-apikey": key}
        if content_type is not None:
            headers["content-type"] = content_type
        return await self.gate.handle(HttpRequest(method, path, query, headers, body.encode(), peer))

    async def code(self, *args: Any, **kwargs: Any) -> tuple[int, int, str]:
        """Ask; return status, code and message of the refusal."""
        answer = await self.ask(*args, **kwargs)
        assert isinstance(answer, HttpResponse)
        told = json.loads(answer.body)
        return answer.status, told["code"], told["msg"]

    async def ws(self, method: str, params: Mapping[str, object], login: Login | None = None) -> WsAnswer:
        answer = await self.gate.call_ws(method, params, "10.0.0.1", login)
        assert isinstance(answer, WsAnswer)
        return answer


def headers_of(answer: HttpResponse | NoAnswer) -> dict[str, str]:
    assert isinstance(answer, HttpResponse)
    return {name.lower(): value for name, value in answer.headers}


def sign(text: str, secret: str = SECRET) -> str:
    return signer_of(secret).sign(text)


def signed(text: str, payload: str | None = None) -> str:
    return f"{text}&signature={sign(text if payload is None else payload)}"


ACCEPTED = (200, {"price": "0.10", "ok": True})


async def accepted(venue: Venue, *args: Any, **kwargs: Any) -> tuple[int, Any]:
    answer = await venue.ask(*args, **kwargs)
    assert isinstance(answer, HttpResponse)
    return answer.status, json.loads(answer.body)


class TestSignatures:
    async def test_binances_own_example_in_the_query(self):
        venue = Venue()
        query = f"{VECTOR}&signature={VECTOR_SIGNATURE}"
        assert await accepted(venue, "POST", "/fapi/v1/order", query, key=KEY) == ACCEPTED
        [(api_key, params)] = venue.came
        assert api_key == KEY
        assert params["timeInForce"] == "GTC"
        assert "signature" not in params

    @pytest.mark.parametrize("split", [4, 40, len(VECTOR)])
    async def test_binances_own_example_in_the_body_and_in_both(self, split):
        # The query and the body are signed without an ampersand between them.
        place = VECTOR.rfind("&", 0, split)
        query, body = (VECTOR[:place], VECTOR[place + 1 :]) if place > 0 else ("", VECTOR)
        signature = sign(query + body)
        assert (signature == VECTOR_SIGNATURE) is (not query)
        answer = await accepted(
            Venue(), "POST", "/fapi/v1/order", query, f"{body}&signature={signature.upper()}", key=KEY
        )
        assert answer == ACCEPTED

    @pytest.mark.parametrize("method", ["POST", "DELETE"])
    async def test_forms_are_read_with_every_method(self, method):
        venue = Venue()
        answer = await accepted(venue, method, "/fapi/v1/order", "", signed(f"a=1&timestamp={NOW_MS}"), key=KEY)
        assert answer == ACCEPTED
        assert venue.came == [(KEY, {"a": "1", "timestamp": str(NOW_MS)})]

    async def test_the_query_wins_over_the_body(self):
        venue = Venue()
        query, body = f"a=1&timestamp={NOW_MS}", "a=2&b=3"
        answer = await accepted(
            venue, "POST", "/fapi/v1/order", f"{query}&signature={sign(query + body)}", body, key=KEY
        )
        assert answer == ACCEPTED
        [(_, params)] = venue.came
        assert (params["a"], params["b"]) == ("1", "3")

    async def test_a_body_that_is_no_form_is_no_part_of_it(self):
        text = f"timestamp={NOW_MS}"
        answer = await accepted(
            Venue(), "POST", "/fapi/v1/order", signed(text), "{}", key=KEY, content_type="application/json"
        )
        assert answer == ACCEPTED

    async def test_a_value_is_signed_as_it_is_sent(self):
        venue = Venue()
        text = f"newClientOrderId=a%3Ab%2Fc&symbol=%E6%B5%8B&timestamp={NOW_MS}"
        assert await accepted(venue, "POST", "/fapi/v1/order", signed(text), key=KEY) == ACCEPTED
        [(_, params)] = venue.came
        assert (params["newClientOrderId"], params["symbol"]) == ("a:b/c", "测")

    @pytest.mark.parametrize(("path", "is_taken"), [("/fapi/v1/order", True), ("/api/v3/order", False)])
    async def test_only_futures_take_a_signature_over_the_decoded_text(self, path, is_taken):
        # Spot: mandatory percent-encoding before signing since 2026-01-15 (facts C2).
        text = f"newClientOrderId=a%3Ab&timestamp={NOW_MS}"
        query = signed(text, f"newClientOrderId=a:b&timestamp={NOW_MS}")
        answer = await Venue().ask("POST", path, query, key=KEY)
        assert isinstance(answer, HttpResponse)
        assert answer.status == (200 if is_taken else 400)

    @pytest.mark.parametrize("key", [ED25519, RSA], ids=["ed25519", "rsa"])
    async def test_the_other_kinds_of_key(self, key):
        venue = Venue(public=key)
        text = f"symbol=BTCUSDT&timestamp={NOW_MS}"
        signature = signer_of(private_pem(key)).sign(text)
        good = f"{text}&signature={quote(signature, safe='')}"
        assert await accepted(venue, "GET", "/fapi/v1/account", good, key=KEY) == ACCEPTED
        # The secret goes on working beside it.
        assert await accepted(venue, "GET", "/fapi/v1/account", signed(text), key=KEY) == ACCEPTED
        other = good.replace("BTCUSDT", "ETHUSDT")
        assert (await venue.code("GET", "/fapi/v1/account", other, key=KEY))[1] == -1022
        assert (await Venue().code("GET", "/fapi/v1/account", good, key=KEY))[1] == -1022

    @pytest.mark.parametrize("pem", [b"", b"x", private_pem(ED25519).encode()])
    def test_what_is_no_public_key_is_refused(self, pem):
        with pytest.raises(PublicKeyError):
            read_public_key(pem)


REFUSED = "Mandatory parameter '{}' was not sent, was empty/null, or malformed."


class TestRefusals:
    """Codes and words: Binance, USDS-M error codes."""

    @pytest.mark.parametrize(
        ("key", "text", "expected"),
        [
            (None, signed(f"timestamp={NOW_MS}"), (401, -2014, "API-key format invalid.")),
            ("short", signed(f"timestamp={NOW_MS}"), (401, -2014, "API-key format invalid.")),
            (
                "K" * 64,
                signed(f"timestamp={NOW_MS}"),
                (401, -2015, "Invalid API-key, IP, or permissions for action."),
            ),
            (KEY, signed("a=1"), (400, -1102, REFUSED.format("timestamp"))),
            (KEY, signed("timestamp="), (400, -1102, REFUSED.format("timestamp"))),
            (KEY, f"timestamp={NOW_MS}", (400, -1102, REFUSED.format("signature"))),
            (KEY, f"timestamp={NOW_MS}&signature=", (400, -1102, REFUSED.format("signature"))),
            (KEY, f"timestamp={NOW_MS}&signature=abc", (400, -1022, "Signature for this request is not valid.")),
            (
                KEY,
                f"timestamp={NOW_MS}&signature={'0' * 64}",
                (400, -1022, "Signature for this request is not valid."),
            ),
            (
                KEY,
                signed(f"timestamp={NOW_MS}&recvWindow=60001"),
                (400, -1131, "recvWindow must be less than 60000"),
            ),
            (
                KEY,
                signed(f"a=1&timestamp={NOW_MS}&a=2"),
                (400, -1101, "Duplicate values for parameter 'a' detected."),
            ),
        ],
    )
    async def test_who_does_not_identify_itself(self, key, text, expected):
        venue = Venue()
        assert await venue.code("GET", "/fapi/v1/account", text, key=key) == expected
        assert venue.came == []

    @pytest.mark.parametrize("value", ["x", "-1", "1.5", "1e3", "%D9%A1"])
    async def test_a_time_that_is_no_number(self, value):
        status, code, text = await Venue().code("GET", "/fapi/v1/account", signed(f"timestamp={value}"), key=KEY)
        assert (status, code) == (400, -1100)
        assert "timestamp" in text

    @pytest.mark.parametrize("query", ["a=%FF", "%FF=1", f"timestamp={NOW_MS}&signature=%FF"])
    async def test_text_that_is_not_utf8(self, query):
        status, code, _ = await Venue().code("GET", "/fapi/v1/account", query, key=KEY)
        assert (status, code) == (400, -1100)

    @pytest.mark.parametrize(
        ("late_ms", "window_ms", "words"),
        [
            (0, None, None),
            (5_000, None, None),
            (5_001, None, "outside of the recvWindow"),
            (2_000, 2_000, None),
            (2_001, 2_000, "outside of the recvWindow"),
            (60_000, 60_000, None),
            (-999, None, None),
            (-1_000, None, "1000ms ahead of the server's time"),
        ],
    )
    async def test_the_window_of_time(self, late_ms, window_ms, words):
        # Accepted where timestamp < server + 1000 and server - timestamp <= recvWindow: facts C2.
        text = f"timestamp={NOW_MS - late_ms}" + ("" if window_ms is None else f"&recvWindow={window_ms}")
        answer = await Venue().ask("GET", "/fapi/v1/account", signed(text), key=KEY)
        assert isinstance(answer, HttpResponse)
        if words is None:
            assert answer.status == 200
        else:
            assert json.loads(answer.body)["code"] == -1021
            assert words in json.loads(answer.body)["msg"]

    async def test_a_clock_that_jumps_is_the_one_that_is_told(self):
        venue = Venue({"on": "venue", "kind": "skew", "skew_ms": 7_000})
        assert (await venue.code("GET", "/fapi/v1/account", signed(f"timestamp={NOW_MS}"), key=KEY))[1] == -1021
        answer = await venue.ask("GET", "/fapi/v1/time")
        assert isinstance(answer, HttpResponse)
        assert json.loads(answer.body) == {"serverTime": NOW_MS + 7_000}
        good = signed(f"timestamp={NOW_MS + 7_000}")
        assert await accepted(venue, "GET", "/fapi/v1/account", good, key=KEY) == ACCEPTED

    async def test_time_that_runs_faster_is_not_held_against_clients(self):
        old = signed(f"timestamp={NOW_MS - 3_600_000}")
        assert await accepted(Venue(speed=60), "GET", "/fapi/v1/account", old, key=KEY) == ACCEPTED

    async def test_a_key_is_enough_for_a_user_stream(self):
        venue = Venue()
        assert await accepted(venue, "POST", "/fapi/v1/listenKey", key=KEY) == ACCEPTED
        assert (await venue.code("POST", "/fapi/v1/listenKey"))[1] == -2014

    @pytest.mark.parametrize(("method", "path"), [("GET", "/fapi/v1/nothing"), ("PUT", "/fapi/v1/ping")])
    async def test_a_path_that_is_none(self, method, path):
        expected = (404, -5000, f"Path {path}, Method {method} is invalid")
        assert await Venue().code(method, path) == expected

    async def test_a_route_that_refuses_or_fails(self, caplog):
        venue = Venue()
        assert await venue.code("GET", "/fapi/v1/refuse") == (400, -4014, "Price not increased by tick size.")
        for path in ("/fapi/v1/break", "/fapi/v1/unprintable"):
            status, code, _ = await venue.code("GET", path)
            assert (status, code) == (500, -1000)
        assert "ZeroDivisionError" in caplog.text


class TestLimits:
    async def test_weight_is_told_and_is_the_addresss(self):
        venue = Venue()
        answers = [await venue.ask("GET", "/fapi/v1/big", "limit=30") for _ in range(2)]
        used = [headers_of(one)["x-mbx-used-weight-1m"] for one in answers]
        other = headers_of(await venue.ask("GET", "/fapi/v1/ping", peer="10.0.0.2"))
        assert used == ["30", "60"]
        assert other["x-mbx-used-weight-1m"] == "1"

    async def test_too_much_is_refused_until_the_minute_ends(self):
        venue = Venue()
        venue.ns = 1_591_702_620_000_000_000 + 12_345_000_000  # 12.345 s into a minute
        for _ in range(2):
            assert (await accepted(venue, "GET", "/fapi/v1/big", "limit=50"))[0] == 200
        answer = await venue.ask("GET", "/fapi/v1/ping")
        assert isinstance(answer, HttpResponse)
        assert answer.status == 429
        assert headers_of(answer)["retry-after"] == "48"  # 60 - 12.345, in whole seconds
        told = json.loads(answer.body)
        assert told["code"] == -1003
        assert "current limit is 100 requests per minute" in told["msg"]
        venue.ns += 48_000_000_000
        assert (await accepted(venue, "GET", "/fapi/v1/ping"))[0] == 200

    async def test_who_goes_on_is_banned_for_longer_each_time(self):
        venue = Venue()
        bans = []
        for _ in range(3):
            while True:
                answer = await venue.ask("GET", "/fapi/v1/big", "limit=60")
                assert isinstance(answer, HttpResponse)
                if answer.status == 418:
                    break
            seconds = int(headers_of(answer)["retry-after"])
            until = venue.ns // 1_000_000 + seconds * 1_000
            assert json.loads(answer.body)["msg"].startswith(f"Way too many requests; IP banned until {until}.")
            assert (await venue.code("GET", "/fapi/v1/ping"))[0] == 418
            assert (await accepted(venue, "GET", "/fapi/v1/ping", peer="10.0.0.2"))[0] == 200
            bans.append(seconds)
            venue.ns += seconds * 1_000_000_000
        assert bans == [120, 600, 3_600]  # two minutes to three days: facts C4; the steps are ours

    async def test_orders_are_counted_by_account(self):
        venue = Venue()
        venue.ns = 1_591_702_620_000_000_000
        text = signed(f"timestamp={venue.ns // 1_000_000}&recvWindow=60000")

        async def order(peer: str = "10.0.0.1") -> HttpResponse:
            answer = await venue.ask("POST", "/fapi/v1/order", text, key=KEY, peer=peer)
            assert isinstance(answer, HttpResponse)
            return answer

        counts = [headers_of(await order(f"10.0.0.{i}")) for i in range(4)]
        assert [one["x-mbx-order-count-10s"] for one in counts] == ["1", "2", "3", "4"]
        assert [one["x-mbx-order-count-1m"] for one in counts] == ["1", "2", "3", "4"]
        refused = await order()
        assert (refused.status, json.loads(refused.body)["code"]) == (429, -1015)
        assert json.loads(refused.body)["msg"] == "Too many new orders; current limit is 4 orders per TEN_SECONDS."
        assert headers_of(refused)["retry-after"] == "10"
        venue.ns += 10_000_000_000
        assert [(await order()).status for _ in range(3)] == [200, 200, 429]
        assert "6 orders per MINUTE" in json.loads((await order()).body)["msg"]
        assert len(venue.came) == 6

    async def test_spot_says_it_in_its_own_words(self):
        # Binance spot, error codes -1003 and -1015.
        venue = Venue(venue="spot")
        text = signed(f"timestamp={NOW_MS}")
        for _ in range(4):
            await venue.ask("POST", "/api/v3/order", text, key=KEY)
        refused = await venue.code("POST", "/api/v3/order", text, key=KEY)
        assert refused == (429, -1015, "Too many new orders; current limit is 4 orders per 10 SECOND.")
        status, code, words = await venue.code("GET", "/fapi/v1/big", "limit=101")
        assert (status, code) == (429, -1003)
        assert words.startswith("Too much request weight used; current limit is 100 request weight per 1 MINUTE.")
        while status != 418:
            status, _, words = await venue.code("GET", "/fapi/v1/ping")
        assert words.startswith("Way too much request weight used; IP banned until ")

    async def test_a_request_that_counts_no_order_tells_none(self):
        assert "x-mbx-order-count-1m" not in headers_of(await Venue().ask("GET", "/fapi/v1/ping"))

    async def test_a_weight_that_cannot_be_told_costs_one(self):
        venue = Venue()
        assert (await venue.code("GET", "/fapi/v1/big", "limit=x"))[1] == -1100
        assert headers_of(await venue.ask("GET", "/fapi/v1/ping"))["x-mbx-used-weight-1m"] == "2"


class TestFaults:
    def order(self, venue: Venue) -> Callable[[], Any]:
        return lambda: venue.ask("POST", "/fapi/v1/order", signed(f"timestamp={NOW_MS}"), key=KEY)

    @pytest.mark.parametrize("executed", [True, False])
    @pytest.mark.parametrize("kind", ["drop", "half_open", "http_408", "http_503"])
    async def test_what_is_told_says_nothing_of_what_is_done(self, kind, executed):
        said = {"on": "request", "kind": kind, "executed": executed}
        if kind == "http_503":
            said["which"] = "unknown"
        venue = Venue(said)
        answer = await self.order(venue)()
        assert len(venue.came) == executed
        expected = {"drop": NoAnswer.CUT, "half_open": NoAnswer.SILENCE}
        if kind in expected:
            assert answer is expected[kind]
        else:
            assert answer.status == int(kind[-3:])

    async def test_a_ban_by_fault_lasts(self):
        venue = Venue({"on": "request", "kind": "http_418", "times": 1, "retry_after_s": 30})
        first = await self.order(venue)()
        assert (first.status, headers_of(first)["retry-after"]) == (418, "30")
        until = NOW_MS + 30_000
        assert json.loads(first.body)["msg"].startswith(f"Way too many requests; IP banned until {until}.")
        assert (await venue.code("GET", "/fapi/v1/ping"))[0] == 418
        venue.ns += 30_000_000_000
        assert (await accepted(venue, "GET", "/fapi/v1/ping"))[0] == 200
        assert venue.came == []

    async def test_a_refusal_may_tell_how_long(self):
        venue = Venue({"on": "request", "kind": "http_429", "retry_after_s": 3})
        answer = await self.order(venue)()
        assert (answer.status, headers_of(answer)["retry-after"]) == (429, "3")

    async def test_delays_come_before_and_after(self, autojump_clock):
        venue = Venue({"on": "request", "kind": "delay", "before_ms": 2_000, "after_ms": 3_000})
        began = autojump_clock.current_time()
        assert (await self.order(venue)()).status == 200
        assert autojump_clock.current_time() - began == pytest.approx(5)

    @pytest.mark.parametrize(
        ("method", "extra"),
        [
            ("DELETE", ""),
            ("POST", "&reduceOnly=true"),
            ("POST", "&closePosition=true"),
            ("POST", "&side=SELL&positionSide=LONG"),
            ("POST", "&side=BUY&positionSide=SHORT"),
        ],
    )
    async def test_the_throttle_exempts(self, method, extra):
        # Binance, 503 with -1008: facts C5.
        venue = Venue({"on": "request", "kind": "http_503", "which": "throttled"})
        answer = await venue.ask(method, "/fapi/v1/order", signed(f"timestamp={NOW_MS}{extra}"), key=KEY)
        assert isinstance(answer, HttpResponse)
        assert answer.status == 200
        assert (await self.order(venue)()).status == 503

    async def test_what_was_asked_twice_is_told_whatever_became_of_it(self):
        venue = Venue({"on": "request", "kind": "drop", "executed": True, "times": 1})
        order = f"newClientOrderId=one&timestamp={NOW_MS}"
        assert await venue.ask("POST", "/fapi/v1/order", signed(order), key=KEY) is NoAnswer.CUT
        assert (await accepted(venue, "POST", "/fapi/v1/order", signed(order), key=KEY))[0] == 200
        assert isinstance(await venue.gate.call_ws("order.place", {"newClientOrderId": "two"}, "x", None), WsAnswer)
        rows = (await accepted(venue, "GET", "/emulator/placements"))[1]["placements"]
        assert [(row["clientOrderId"], row["times"]) for row in rows] == [("one", 2), ("two", 1)]

    async def test_faults_are_set_listed_and_taken_away(self):
        venue = Venue()
        document = {"faults": [{"on": "request", "kind": "drop"}, {"on": "venue", "kind": "listen_key_expiry"}]}
        set_ = await venue.ask("POST", "/emulator/faults", body=json.dumps(document), content_type="application/json")
        assert isinstance(set_, HttpResponse)
        assert json.loads(set_.body) == {"ids": [1, 2]}
        assert await self.order(venue)() is NoAnswer.CUT
        listed = await venue.ask("GET", "/emulator/faults")
        assert isinstance(listed, HttpResponse)
        assert json.loads(listed.body)["faults"][0] == {
            "id": 1,
            "fault": {"on": "request", "kind": "drop"},
            "matched": 1,
            "fired": 1,
        }
        assert (await accepted(venue, "DELETE", "/emulator/faults/1"))[1] == {"deleted": [1]}
        assert (await self.order(venue)()).status == 200
        assert (await accepted(venue, "DELETE", "/emulator/faults"))[1] == {"deleted": [2]}
        assert (await accepted(venue, "GET", "/emulator/faults"))[1] == {"faults": []}

    @pytest.mark.parametrize(
        ("method", "path", "body", "status", "words"),
        [
            ("POST", "/emulator/faults", "{", 400, "not JSON"),
            ("POST", "/emulator/faults", '{"kind": "drop"}', 400, "on: missing"),
            ("POST", "/emulator/faults", '{"faults": [{"on": "stream", "kind": "x"}]}', 400, "faults[0].kind"),
            ("PUT", "/emulator/faults", "", 405, "GET, POST or DELETE"),
            ("GET", "/emulator/faults/1", "", 405, "deleted"),
            ("DELETE", "/emulator/faults/9", "", 404, "no fault 9"),
            ("DELETE", "/emulator/faults/x", "", 404, "/emulator/faults"),
            ("GET", "/emulator/other", "", 404, "/emulator/faults"),
            ("GET", "/emulator/other/emulator/faults/1", "", 404, "/emulator/faults"),
        ],
    )
    async def test_what_cannot_be_done_with_faults(self, method, path, body, status, words):
        answer = await Venue().ask(method, path, body=body)
        assert isinstance(answer, HttpResponse)
        assert answer.status == status
        assert words in json.loads(answer.body)["error"]


def ws_signed(signature_of: Callable[[str], str] = sign, **params: object) -> dict[str, object]:
    params = {"apiKey": KEY, **params}
    text = "&".join(f"{name}={_text(params[name])}" for name in sorted(params))
    return {**params, "signature": signature_of(text)}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class TestWebSocketApi:
    async def test_parameters_are_signed_sorted_and_as_they_are(self):
        venue = Venue()
        params = ws_signed(
            symbol="BTCUSDT", quantity="0.010", price=Decimal("9000.10"), reduceOnly=False, timestamp=NOW_MS
        )
        answer = await venue.ws("order.place", params)
        assert (answer.status, answer.body) == (200, {"price": Decimal("0.10"), "ok": True})
        [(_, came)] = venue.came
        assert (came["price"], came["reduceOnly"], came["quantity"]) == ("9000.10", "false", "0.010")
        assert answer.rate_limits is not None
        counts = {(one["rateLimitType"], one["interval"]): one["count"] for one in answer.rate_limits}
        assert counts == {("REQUEST_WEIGHT", "MINUTE"): 0, ("ORDERS", "MINUTE"): 1, ("ORDERS", "SECOND"): 1}

    async def test_encoded_text_may_be_signed_and_the_signature_encoded(self):
        venue = Venue(public=ED25519)
        params = {"apiKey": KEY, "newClientOrderId": "a:b", "timestamp": str(NOW_MS)}
        signature = signer_of(private_pem(ED25519)).sign(urlencode(sorted(params.items())))
        answer = await venue.ws("order.place", {**params, "signature": quote(signature, safe="")})
        assert answer.status == 200

    async def test_rate_limits_are_left_out_where_they_are_not_wanted(self):
        params = ws_signed(returnRateLimits=False, timestamp=NOW_MS)
        assert (await Venue().ws("order.place", params)).rate_limits is None

    @pytest.mark.parametrize(
        ("params", "status", "code"),
        [
            ({}, 400, -1102),
            ({"apiKey": "x"}, 401, -2014),
            ({"apiKey": "K" * 64}, 401, -2015),
            ({"apiKey": KEY}, 400, -1102),
            ({"apiKey": KEY, "timestamp": NOW_MS}, 400, -1102),
            ({"apiKey": KEY, "timestamp": NOW_MS, "signature": "0" * 64}, 400, -1022),
            (ws_signed(timestamp=NOW_MS - 9_000), 400, -1021),
        ],
    )
    async def test_refusals_are_those_of_rest(self, params, status, code):
        answer = await Venue().ws("order.place", params)
        assert isinstance(answer.body, dict)
        assert (answer.status, answer.body["code"]) == (status, code)

    async def test_a_method_that_is_none(self):
        answer = await Venue().ws("order.dance", {})
        assert isinstance(answer.body, dict)
        assert (answer.status, answer.body["code"]) == (400, -1020)

    async def test_a_key_is_enough_for_a_user_stream(self):
        assert (await Venue().ws("userDataStream.start", {"apiKey": KEY})).status == 200

    async def test_public_methods_need_nobody(self):
        assert (await Venue().ws("time", {})).body == {"serverTime": NOW_MS}

    async def test_a_session_needs_no_key_after_logon(self):
        venue = Venue(public=ED25519)
        signer = signer_of(private_pem(ED25519))
        told = await venue.gate.logon(ws_signed(signer.sign, timestamp=NOW_MS), "10.0.0.1")
        assert not isinstance(told, NoAnswer)
        answer, login = told
        assert (answer.status, login) == (200, Login(KEY, NOW_MS))
        assert (await venue.ws("order.place", {"symbol": "X", "timestamp": NOW_MS}, login)).status == 200
        assert venue.came == [(KEY, {"symbol": "X", "timestamp": str(NOW_MS)})]
        late = await venue.ws("order.place", {"timestamp": NOW_MS - 9_000}, login)
        assert isinstance(late.body, dict)
        assert late.body["code"] == -1021

    @pytest.mark.parametrize(
        ("params", "code"), [(ws_signed(timestamp=NOW_MS), -4056), ({"apiKey": KEY, "timestamp": NOW_MS}, -1102)]
    )
    async def test_only_ed25519_logs_on(self, params, code):
        told = await Venue(public=ED25519).gate.logon(params, "10.0.0.1")
        assert not isinstance(told, NoAnswer)
        answer, login = told
        assert isinstance(answer.body, dict)
        assert (answer.body["code"], login) == (code, None)

    async def test_limits_are_shared_with_rest(self):
        venue = Venue()
        await venue.ask("GET", "/fapi/v1/big", "limit=96")
        assert venue.gate.shake_hands("10.0.0.2") is None
        refused = venue.gate.shake_hands("10.0.0.1")
        assert refused is not None
        assert refused.status == 429
        answer = await venue.ws("time", {})
        assert answer.status == 429
        assert isinstance(answer.body, dict)
        left_ms = answer.body["data"]["retryAfter"] - answer.body["data"]["serverTime"]
        assert 0 < left_ms <= 60_000

    async def test_faults_know_it_by_its_method(self):
        venue = Venue({"on": "request", "kind": "drop", "method": "WS", "path": "order.*", "executed": True})
        assert await venue.gate.call_ws("order.place", ws_signed(timestamp=NOW_MS), "p", None) is NoAnswer.CUT
        assert len(venue.came) == 1
        assert (await venue.ws("time", {})).status == 200
        assert (await accepted(venue, "GET", "/fapi/v1/ping"))[0] == 200
