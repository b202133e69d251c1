"""Faults: what a document may say, which request or event meets which fault, and what happens by the clock."""

import json
from decimal import Decimal

import pytest
import trio
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sim.emulator.fault_rules import KINDS, NEEDED, FaultError, FaultRule, Kind, On, read_faults, rules_of
from sim.emulator.faults import NO_FAULT, Faults, Subject, crossed
from sim.emulator.http_server import NoAnswer

MS = 1_000_000
S = 1_000_000_000


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.ns = 1_000 * S

    def __call__(self) -> int:
        return self.ns


def faults_of(*documents: dict[str, object], seed: int = 0, clock: Clock | None = None) -> tuple[Faults, Clock]:
    clock = clock or Clock()
    return Faults(rules_of({"faults": list(documents)}), seed=seed, now=clock), clock


def order(client_id: str = "a-1", **more: str) -> Subject:
    return Subject("POST", "/fapi/v1/order", {"symbol": "BTCUSDT", "newClientOrderId": client_id, **more})


def depth(**more: object) -> dict[str, object]:
    return {"e": "depthUpdate", "s": "BTCUSDT", "u": 1, "b": [["100.0", "1"]], "a": [["100.1", "2"]], **more}


class TestDocuments:
    def test_toml_and_json_say_the_same(self, tmp_path):
        toml, plain = tmp_path / "f.toml", tmp_path / "f.json"
        toml.write_text('[[faults]]\non = "request"\nkind = "delay"\nbefore_ms = 1.5\npath = "/fapi/*"\nafter = 2\n')
        said = {"on": "request", "kind": "delay", "before_ms": 1.5, "path": "/fapi/*", "after": 2}
        plain.write_text(json.dumps({"faults": [said]}))
        [rule] = read_faults(toml)
        assert rule == FaultRule(On.REQUEST, Kind.DELAY, path="/fapi/*", after=2, before_ns=1_500_000)
        assert read_faults(plain) == [rule]
        assert rules_of(said) == [rule]

    @pytest.mark.parametrize(
        ("said", "path"),
        [
            ({"on": "request", "kind": "crossed"}, "faults[0].kind"),
            ({"on": "nowhere", "kind": "drop"}, "faults[0].on"),
            ({"kind": "drop"}, "faults[0].on"),
            ({"on": "request"}, "faults[0].kind"),
            ({"on": "request", "kind": "drop", "stream": "x"}, "faults[0].stream"),
            ({"on": "stream", "kind": "drop", "executed": True}, "faults[0].executed"),
            ({"on": "request", "kind": "delay"}, "faults[0].before_ms"),
            ({"on": "request", "kind": "http_503"}, "faults[0].which"),
            ({"on": "request", "kind": "http_503", "which": "maybe"}, "faults[0].which"),
            ({"on": "request", "kind": "http_503", "which": "throttled", "executed": True}, "faults[0].executed"),
            ({"on": "request", "kind": "http_503", "which": "unavailable", "executed": True}, "faults[0].executed"),
            ({"on": "request", "kind": "error", "code": -1}, "faults[0].message"),
            ({"on": "request", "kind": "error", "code": -1, "message": "m", "status": 200}, "faults[0].status"),
            ({"on": "request", "kind": "drop", "probability": 1.1}, "faults[0].probability"),
            ({"on": "request", "kind": "drop", "probability": float("nan")}, "faults[0].probability"),
            ({"on": "request", "kind": "drop", "every": 0}, "faults[0].every"),
            ({"on": "request", "kind": "drop", "times": True}, "faults[0].times"),
            ({"on": "request", "kind": "drop", "at_s": -1}, "faults[0].at_s"),
            ({"on": "request", "kind": "drop", "at_s": float("inf")}, "faults[0].at_s"),
            ({"on": "stream", "kind": "reorder"}, "faults[0].delay_ms"),
            ({"on": "stream", "kind": "delay"}, "faults[0].delay_ms"),
            ({"on": "stream", "kind": "gap"}, "faults[0].events"),
            ({"on": "venue", "kind": "skew"}, "faults[0].skew_ms"),
            ({"on": "venue", "kind": "skew", "skew_ms": 0}, "faults[0].skew_ms"),
            ({"on": "venue", "kind": "maintenance", "every_s": 5, "for_s": 5}, "faults[0].for_s"),
            ({"on": "venue", "kind": "listen_key_expiry", "for_s": 5}, "faults[0].for_s"),
            ({"on": "connection", "kind": "disconnect", "after": 1}, "faults[0].after"),
            ("drop", "faults[0]"),
        ],
    )
    def test_what_is_wrong_is_named(self, said, path):
        with pytest.raises(FaultError) as caught:
            rules_of({"faults": [said]})
        assert caught.value.path == path

    @pytest.mark.parametrize("document", [None, [], {}, {"faults": {}}, {"faults": [], "more": 1}, "x"])
    def test_a_document_is_a_list_of_faults(self, document):
        with pytest.raises(FaultError):
            rules_of(document)

    @pytest.mark.parametrize(("name", "text"), [("f.toml", "[[faults"), ("f.json", "{"), ("f.toml", "faults = 3")])
    def test_an_error_names_the_file(self, tmp_path, name, text):
        (tmp_path / name).write_text(text)
        with pytest.raises(FaultError, match=name):
            read_faults(tmp_path / name)

    def test_bytes_that_are_no_text_are_an_error_of_the_file(self, tmp_path):
        (tmp_path / "f.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(FaultError):
            read_faults(tmp_path / "f.toml")

    def test_every_key_that_is_needed_is_one_that_is_read(self):
        for kinds in KINDS.values():
            for kind, keys in kinds.items():
                assert set(NEEDED.get(kind, ())) <= set(keys)


class TestRequests:
    def test_without_faults_nothing_happens(self):
        assert Faults().on_request(order()) is NO_FAULT

    @pytest.mark.parametrize(
        ("where", "is_met"),
        [
            ({"method": "POST"}, True),
            ({"method": "GET"}, False),
            ({"path": "/fapi/*/order"}, True),
            ({"path": "/fapi/v1/order?"}, False),
            ({"symbol": "BTC*"}, True),
            ({"symbol": "ETH*"}, False),
            ({"client_id": "a-*"}, True),
            ({"client_id": "b-*"}, False),
            ({"method": "POST", "path": "/fapi/v1/order", "client_id": "b-*"}, False),
        ],
    )
    def test_it_strikes_where_all_patterns_match(self, where, is_met):
        faults, _ = faults_of({"on": "request", "kind": "drop", **where})
        assert (faults.on_request(order()).answer is NoAnswer.CUT) is is_met

    @pytest.mark.parametrize(("client_id", "is_met"), [("a-2", True), ("a-*", True), ("-2", False), ("c", False)])
    def test_a_client_id_within_a_batch_is_found(self, client_id, is_met):
        faults, _ = faults_of({"on": "request", "kind": "drop", "client_id": client_id})
        orders = json.dumps([{"newClientOrderId": "a-1"}, {"newClientOrderId": "a-2"}])
        action = faults.on_request(Subject("POST", "/fapi/v1/batchOrders", {"batchOrders": orders}))
        assert (action.answer is NoAnswer.CUT) is is_met

    @pytest.mark.parametrize(
        ("when", "met"),
        [
            ({}, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
            ({"times": 2}, [0, 1]),
            ({"after": 3, "times": 1}, [3]),
            ({"every": 4}, [0, 4, 8]),
            ({"after": 1, "every": 3}, [1, 4, 7]),
            ({"after": 1, "every": 3, "times": 2}, [1, 4]),
            ({"probability": 0}, []),
        ],
    )
    def test_counts_say_which_one_meets_it(self, when, met):
        faults, _ = faults_of({"on": "request", "kind": "drop", **when})
        assert [i for i in range(9) if faults.on_request(order()).answer is not None] == met
        [told] = faults.listing()
        assert (told["matched"], told["fired"]) == (9, len(met))

    def test_it_begins_and_ends(self):
        faults, clock = faults_of({"on": "request", "kind": "drop", "at_s": 2, "for_s": 3})
        met = []
        for second in range(8):
            if faults.on_request(order()).answer is not None:
                met.append(second)
            clock.ns += S
        assert met == [2, 3, 4]

    @given(seed=st.integers(0, 2**32))
    def test_the_same_seed_gives_the_same_faults(self, seed):
        document = {"on": "request", "kind": "drop", "probability": 0.5}
        one, other = (faults_of(document, seed=seed)[0] for _ in range(2))
        assert [one.on_request(order()) for _ in range(20)] == [other.on_request(order()) for _ in range(20)]

    def test_a_probability_is_met_about_as_often(self):
        faults, _ = faults_of({"on": "request", "kind": "drop", "probability": 0.25}, seed=1)
        count = sum(faults.on_request(order()) is not NO_FAULT for _ in range(4_000))
        assert 880 < count < 1_120  # 1,000 and four standard deviations of 27.4 either way

    @pytest.mark.parametrize(
        ("said", "status", "code", "is_executed"),
        [
            ({"kind": "http_503", "which": "unknown"}, 503, -1000, False),
            ({"kind": "http_503", "which": "unknown", "executed": True}, 503, -1000, True),
            ({"kind": "http_503", "which": "internal", "executed": True}, 503, -1001, True),
            ({"kind": "http_503", "which": "unavailable"}, 503, -1000, False),
            ({"kind": "http_503", "which": "throttled"}, 503, -1008, False),
            ({"kind": "http_408", "executed": True}, 408, -1007, True),
            ({"kind": "http_429"}, 429, -1003, False),
            ({"kind": "http_418"}, 418, -1003, False),
            ({"kind": "error", "code": -1021, "message": "m"}, 400, -1021, False),
            ({"kind": "error", "code": -1, "message": "m", "status": 500, "executed": True}, 500, -1, True),
        ],
    )
    def test_answers_tell_one_thing_and_do_another(self, said, status, code, is_executed):
        faults, _ = faults_of({"on": "request", **said})
        action = faults.on_request(order())
        assert (action.status, action.code, action.is_executed) == (status, code, is_executed)

    def test_delays_add_up_and_the_first_answer_counts(self):
        faults, _ = faults_of(
            {"on": "request", "kind": "delay", "before_ms": 5},
            {"on": "request", "kind": "half_open"},
            {"on": "request", "kind": "drop"},
            {"on": "request", "kind": "delay", "before_ms": 1, "after_ms": 2},
        )
        action = faults.on_request(order())
        assert action.answer is NoAnswer.SILENCE
        assert (action.delay_before_ns, action.delay_after_ns) == (6 * MS, 2 * MS)
        assert [one["fired"] for one in faults.listing()] == [1, 1, 0, 1]

    def test_the_throttle_lets_pass_what_reduces(self):
        # Binance, error -1008: reduce-only and close-position orders are exempt.
        faults, _ = faults_of({"on": "request", "kind": "http_503", "which": "throttled"})
        assert faults.on_request(evolve(order(), frees_risk=True)) is NO_FAULT
        assert faults.on_request(order()).code == -1008

    def test_one_that_is_taken_away_strikes_no_more(self):
        faults, _ = faults_of({"on": "request", "kind": "drop"}, {"on": "request", "kind": "delay", "before_ms": 1})
        assert faults.remove(1)
        assert not faults.remove(1)
        assert faults.on_request(order()).answer is None
        assert [one["id"] for one in faults.listing()] == [2]


class TestStreams:
    def sent(self, faults: Faults, count: int, stream: str = "btcusdt@depth") -> list[tuple[int, int]]:
        """Return (nanoseconds, number) of what is sent for that many events of a stream."""
        with faults.link("public") as link:
            return [(ns, event["u"]) for i in range(count) for ns, event in link.on_event(stream, depth(u=i))]

    def test_without_faults_events_go_as_they_are(self):
        faults = Faults()
        assert not faults.touches_streams
        assert self.sent(faults, 3) == [(0, 0), (0, 1), (0, 2)]

    @pytest.mark.parametrize(
        ("said", "numbers"),
        [
            ({"kind": "drop", "after": 1, "times": 1}, [0, 2, 3, 4]),
            ({"kind": "gap", "events": 3, "after": 1, "times": 1}, [0, 4]),
            ({"kind": "duplicate", "after": 1, "times": 1}, [0, 1, 1, 2, 3, 4]),
            ({"kind": "duplicate", "copies": 2, "every": 4}, [0, 0, 0, 1, 2, 3, 4, 4, 4]),
            ({"kind": "drop", "stream": "ethusdt@*"}, [0, 1, 2, 3, 4]),
            ({"kind": "drop", "stream": "btcusdt@*"}, []),
            ({"kind": "drop", "event": "bookTicker"}, [0, 1, 2, 3, 4]),
            ({"kind": "drop", "route": "p*"}, []),
            ({"kind": "drop", "route": "market"}, [0, 1, 2, 3, 4]),
            ({"kind": "disconnect", "after": 2}, [0, 1]),
            ({"kind": "half_open", "after": 2}, [0, 1]),
        ],
    )
    def test_events_are_lost_or_come_again(self, said, numbers):
        faults, _ = faults_of({"on": "stream", **said})
        assert faults.touches_streams
        assert [number for _, number in self.sent(faults, 5)] == numbers

    def test_a_delay_holds_up_all_that_follows(self):
        faults, clock = faults_of({"on": "stream", "kind": "delay", "delay_ms": 100, "times": 1})
        with faults.link("public") as link:
            assert link.on_event("s", depth(u=1)) == [(100 * MS, depth(u=1))]
            clock.ns += 40 * MS
            assert link.on_event("s", depth(u=2)) == [(60 * MS, depth(u=2))]
            clock.ns += 90 * MS
            assert link.on_event("s", depth(u=3)) == [(0, depth(u=3))]

    def test_a_reordered_event_is_overtaken(self):
        faults, _ = faults_of({"on": "stream", "kind": "reorder", "delay_ms": 100, "times": 1})
        with faults.link("public") as link:
            assert link.on_event("s", depth(u=1)) == [(100 * MS, depth(u=1))]
            assert link.on_event("s", depth(u=2)) == [(0, depth(u=2))]

    def test_a_gap_is_of_one_stream_on_one_connection(self):
        faults, _ = faults_of({"on": "stream", "kind": "gap", "events": 2, "times": 1})
        with faults.link("public") as one, faults.link("public") as other:
            assert one.on_event("s", depth()) == []
            assert len(one.on_event("t", depth())) == 1
            assert len(other.on_event("s", depth())) == 1
            assert one.on_event("s", depth()) == []
            assert len(one.on_event("s", depth())) == 1

    def test_a_connection_that_is_cut_or_silent_gets_no_more(self):
        faults, _ = faults_of(
            {"on": "stream", "kind": "disconnect", "stream": "a"}, {"on": "stream", "kind": "half_open", "stream": "b"}
        )
        with faults.link("public") as one, faults.link("public") as other:
            assert one.on_event("a", depth()) == []
            assert other.on_event("b", depth()) == []
            assert (one.cut.is_set(), one.silenced.is_set()) == (True, False)
            assert (other.cut.is_set(), other.silenced.is_set()) == (False, True)
            assert one.on_event("c", depth()) == other.on_event("c", depth()) == []

    @pytest.mark.parametrize(
        "event",
        [
            {"e": "ORDER_TRADE_UPDATE", "o": {"c": "mine-1"}},
            {"e": "ALGO_UPDATE", "o": {"caid": "mine-1"}},
            {"e": "TRADE_LITE", "c": "mine-1", "s": "BTCUSDT"},
            {"e": "executionReport", "c": "mine-1", "o": "LIMIT"},
        ],
    )
    def test_user_events_are_found_by_their_order(self, event):
        faults, _ = faults_of({"on": "stream", "kind": "drop", "client_id": "mine-*"})
        with faults.link("private") as link:
            assert link.on_event("user", event) == []
            assert link.on_event("user", {"e": "ACCOUNT_UPDATE", "a": {}}) == [(0, {"e": "ACCOUNT_UPDATE", "a": {}})]

    def test_the_event_given_is_never_changed(self):
        faults, _ = faults_of({"on": "stream", "kind": "crossed"})
        given_event = depth()
        with faults.link("public") as link:
            [(_, bent)] = link.on_event("s", given_event)
        assert given_event == depth()
        assert bent != given_event


def is_crossed(bids: list[list[str]], asks: list[list[str]]) -> bool:
    live = [[Decimal(price) for price, quantity in side if Decimal(quantity)] for side in (bids, asks)]
    return max(live[0]) > min(live[1])


class TestCrossed:
    def test_a_ticker_has_its_sides_exchanged(self):
        ticker = {"e": "bookTicker", "b": "100.0", "B": "1", "a": "100.1", "A": "2"}
        assert crossed(ticker) == {"e": "bookTicker", "b": "100.1", "B": "2", "a": "100.0", "A": "1"}
        spot = {"u": 1, "s": "X", "b": "100.0", "B": "1", "a": "100.1", "A": "2"}
        assert crossed(spot) == {"u": 1, "s": "X", "b": "100.1", "B": "2", "a": "100.0", "A": "1"}

    @pytest.mark.parametrize(
        ("bids", "asks"),
        [
            ([["60000.00", "1"]], [["60000.10", "2"], ["60000.20", "0"]]),
            ([], [["0.01234", "2"]]),
            ([["60000.00", "1"]], []),
            ([["9.5", "1"], ["9.4", "3"]], [["9.6", "0"]]),
        ],
    )
    def test_depth_crosses_whatever_book_it_is_put_on(self, bids, asks):
        bent = crossed(depth(b=bids, a=asks))
        assert bent is not None
        # The book beneath holds the event's own levels; one more of each side makes both sides exist.
        assert is_crossed([*bent["b"], *bids, ["0.00001", "1"]], [*bent["a"], *asks, ["100000", "1"]])

    @pytest.mark.parametrize(
        ("price", "bid"),
        [("60000.10", "60100.10"), ("0.01234", "0.01244"), ("9.6", "9.61"), ("100000.0", "101000.0")],
    )
    def test_the_price_is_on_the_grid_of_ticks(self, price, bid):
        bent = crossed(depth(b=[], a=[[price, "1"]]))
        assert bent is not None
        assert bent["b"] == [[bid, "1"]]

    def test_spot_snapshots_have_other_names(self):
        bent = crossed({"lastUpdateId": 1, "bids": [["9.0", "1"]], "asks": [["10.0", "1"]]})
        assert bent is not None
        assert bent["bids"][0] == ["10.1", "1"]

    @pytest.mark.parametrize("event", [{"e": "aggTrade", "p": "1"}, depth(b=[["1", "0"]], a=[])])
    def test_what_has_no_prices_stays_as_it_is(self, event):
        assert crossed(event) is None
        faults, _ = faults_of({"on": "stream", "kind": "crossed", "times": 1})
        with faults.link("public") as link:
            assert link.on_event("s", event) == [(0, event)]
            assert link.on_event("s", depth()) != [(0, depth())]


class TestTimed:
    """By trio's own clock, which jumps."""

    @staticmethod
    def now() -> int:
        return round(trio.current_time() * S)

    @pytest.mark.parametrize(
        ("said", "at"),
        [
            ({}, [0]),
            ({"at_s": 3}, [3]),
            ({"at_s": 1, "every_s": 4}, [1, 5, 9]),
            ({"every_s": 4, "times": 2}, [0, 4]),
        ],
    )
    async def test_listen_keys_expire_by_the_clock(self, autojump_clock, said, at):
        faults = Faults(rules_of({"on": "venue", "kind": "listen_key_expiry", **said}), now=self.now)
        expired = []
        faults.on_listen_key_expiry(lambda: expired.append(round(trio.current_time())))
        with trio.move_on_after(11):
            await faults.run()
        assert expired == at
        [told] = faults.listing()
        assert told["fired"] == len(at)

    async def test_connections_are_cut_as_they_are_at_that_time(self, autojump_clock):
        documents = [
            {"on": "connection", "kind": "disconnect", "at_s": 5, "route": "public"},
            {"on": "connection", "kind": "half_open", "at_s": 7, "route": "private"},
        ]
        faults = Faults(rules_of({"faults": documents}), now=self.now)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(faults.run)
            with faults.link("public") as public, faults.link("private") as private, faults.link("market") as market:
                await public.cut.wait()
                assert round(trio.current_time()) == 5
                with faults.link("public") as later:
                    await private.silenced.wait()
                    assert round(trio.current_time()) == 7
                    await trio.sleep(20)
                    assert not later.cut.is_set()
                assert not market.cut.is_set()
                assert not market.silenced.is_set()
            nursery.cancel_scope.cancel()

    async def test_one_that_is_set_later_counts_from_then(self, autojump_clock):
        faults = Faults(now=self.now)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(faults.run)
            with faults.link("public") as link:
                await trio.sleep(10)
                faults.add(rules_of({"on": "connection", "kind": "disconnect", "at_s": 2}))
                await link.cut.wait()
                assert round(trio.current_time()) == 12
            nursery.cancel_scope.cancel()

    async def test_maintenance_closes_refuses_and_ends(self, autojump_clock):
        faults = Faults(rules_of({"on": "venue", "kind": "maintenance", "at_s": 2, "for_s": 3}), now=self.now)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(faults.run)
            with faults.link("market") as link:
                assert faults.on_request(order()) is NO_FAULT
                await link.cut.wait()
            assert round(trio.current_time()) == 2
            assert faults.is_refused("public")
            action = faults.on_request(order())
            assert (action.status, action.message, action.is_executed) == (503, "Service Unavailable.", False)
            await trio.sleep(3)
            assert not faults.is_refused("public")
            assert faults.on_request(order()) is NO_FAULT
            nursery.cancel_scope.cancel()

    def test_a_skew_lasts_and_comes_again(self):
        document = {"on": "venue", "kind": "skew", "skew_ms": -1_500, "at_s": 1, "for_s": 1, "every_s": 3, "times": 2}
        faults, clock = faults_of(document)
        skews = []
        for _ in range(9):
            skews.append(faults.skew_ns // MS)
            clock.ns += S
        assert skews == [0, -1_500, 0, 0, -1_500, 0, 0, 0, 0]

    def test_a_route_is_refused_for_its_time(self):
        faults, clock = faults_of({"on": "connection", "kind": "refuse", "route": "private", "for_s": 2})
        assert faults.is_refused("private")
        assert not faults.is_refused("public")
        clock.ns += 2 * S
        assert not faults.is_refused("private")
