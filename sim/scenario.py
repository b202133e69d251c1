"""Plays a scenario through the simulated venue: events and orders on one timeline, latency in between."""

import json
import sys
from collections.abc import Sequence
from decimal import Context, localcontext
from pathlib import Path

from attrs import define, evolve, field

from sim.account import CashFlow
from sim.book_order import BookOrder
from sim.booking import NoReferencePriceError
from sim.scenario_events import Connection, Settlement, TimedEvent
from sim.scenario_fields import ScenarioError, load
from sim.scenario_format import ScenarioDocument, read_document
from sim.scenario_orders import TimedCommand
from sim.scenario_result import build_result, differences
from sim.slippage import SlippageReport
from sim.venue import SimVenue
from sim.venue_state import Note
from venues.port import Report, SubmitOrder
from venues.rules.errors import BadValueError

Result = dict[str, object]

# Products of three numbers with 18 digits on both sides of the point: money adds up to the last digit.
_EXACT = Context(prec=120)


@define
class Played:
    """What a play left behind: the venue as it ended, its reports in order, money, notes, and who was cut off when.

    `slippage` is by instrument and trade id, empty where there are books. `others` is what the venue told simulated
    participants; `flows` are everybody's.
    """

    document: ScenarioDocument
    venue: SimVenue
    reports: list[Report]
    flows: list[CashFlow]
    notes: list[Note]
    slippage: dict[tuple[str, str], SlippageReport] = field(factory=dict)
    others: list[Report] = field(factory=list)
    unsent: list[TimedCommand] = field(factory=list)
    outages: list[tuple[int, int | None]] = field(factory=list)
    errors: list[tuple[int, str]] = field(factory=list)

    def local(self, t: int) -> int | None:
        """Return when the client learned of what the venue said at `t`; None is never.

        What was due while the client was cut off is learned right after the venue is back.
        """
        delay = self.document.latency.response_ns
        at = t + delay
        for start, end in self.outages:
            if at >= start and (end is None or at < end + delay):
                return None if end is None else max(at, end + delay)
        return at


class Scenario:
    """A scenario file: read strictly, played as often as wanted, compared with what it expects."""

    def __init__(self, document: ScenarioDocument) -> None:
        self.document = document

    @classmethod
    def from_dict(cls, document: object) -> "Scenario":
        """Read a document as `json` would give it. Raises ScenarioError naming the offending key."""
        with localcontext(_EXACT):
            return cls(read_document(document))

    @classmethod
    def from_file(cls, path: str | Path) -> "Scenario":
        """Read a file. Raises ScenarioError naming file and key, also for a file that cannot be read."""
        try:
            return cls.from_dict(load(Path(path).read_text(encoding="utf-8")))
        except ScenarioError as error:
            raise ScenarioError(error.path, error.why, str(path)) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ScenarioError("", str(error), str(path)) from None

    @property
    def name(self) -> str:
        return self.document.name

    def play(self) -> Played:
        """Play from a fresh venue to the last event, order or expiry named in the document.

        Raises ScenarioError for numbers that fit the format and lead beyond what the rules calculate with.
        """
        flows: list[CashFlow] = []
        notes: list[Note] = []
        slippage: dict[tuple[str, str], SlippageReport] = {}
        others: list[Report] = []
        d = self.document
        account = evolve(d.account, balances=dict(d.account.balances), leverage=dict(d.account.leverage))
        with localcontext(_EXACT):
            venue = SimVenue(
                d.venue,
                d.instruments,
                [account],
                d.fees,
                d.rules,
                d.queue_model,
                d.seed,
                on_flow=flows.append,
                on_note=notes.append,
                execution=d.execution,
                on_slippage=lambda report: slippage.__setitem__((report.instrument, report.trade_id), report),
                settings=d.settings,
                on_counterparty=others.append,
            )
            for instrument, are_traded in d.by_order.items():
                venue.follow_orders(instrument, trades_move=not are_traded)
            played = Played(d, venue, [], flows, notes, slippage, others, outages=_outages(d.events))
            try:
                _play(played)
            except BadValueError as error:
                raise ScenarioError("", f"its numbers lead beyond any market: {error}") from None
        return played

    def run(self) -> Result:
        """Play and return the result document; decimals are strings, times ns from the start."""
        with localcontext(_EXACT):
            return build_result(self.play())

    def check(self) -> list[str]:
        """Play and return what differs from `expect`, one line each; nothing to expect is no difference.

        Raises ScenarioError for an expectation that no result could meet (an unknown key).
        """
        with localcontext(_EXACT):
            return differences(self.run(), self.document.expect)


def _outages(events: Sequence[TimedEvent]) -> list[tuple[int, int | None]]:
    found: list[tuple[int, int | None]] = []
    for event in sorted(events, key=lambda event: event.t):
        if not isinstance(event.what, Connection):
            continue
        is_out = bool(found) and found[-1][1] is None
        if event.what.is_up and is_out:
            found[-1] = (found[-1][0], event.t)
        elif not event.what.is_up and not is_out:
            found.append((event.t, None))
    return found


def _play(played: Played) -> None:
    """Market events, then what the venue does by itself, then orders, where they share an instant."""
    d = played.document
    events = sorted(d.events, key=lambda event: event.t)
    commands = sorted(d.commands, key=lambda command: command.t)
    entry_ns = d.latency.entry_ns
    horizon = max(
        [
            *(event.t for event in events),
            *(command.t + entry_ns for command in commands),
            *(ns - d.epoch_ns for ns in (*map(_expiry, commands), *_ends(d)) if ns is not None),
        ],
        default=0,
    )
    e = c = 0
    while True:
        event_t = events[e].t if e < len(events) else None
        command_t = commands[c].t + entry_ns if c < len(commands) else None
        deadline = played.venue.next_deadline()
        due_t = deadline - d.epoch_ns if deadline is not None and deadline - d.epoch_ns <= horizon else None
        times = [t for t in (event_t, due_t, command_t) if t is not None]
        if not times:
            return
        now = min(times)
        if event_t == now:
            _happen(played, events[e])
            e += 1
        elif due_t == now:
            played.reports.extend(played.venue.on_time(d.epoch_ns + now))
        else:
            _arrive(played, commands[c], now)
            c += 1


def _ends(document: ScenarioDocument) -> list[int | None]:
    """Return when contracts expire or are closed out, UTC ns."""
    expiries = [spec.expiry_ns for spec in document.instruments]
    return [*expiries, *(controls.close_out_ns for controls in document.settings.controls.values())]


def _expiry(command: TimedCommand) -> int | None:
    return command.command.expire_ns if isinstance(command.command, SubmitOrder) else None


def _happen(played: Played, event: TimedEvent) -> None:
    now = played.document.epoch_ns + event.t
    what = event.what
    if isinstance(what, Connection):
        played.notes.append(Note(now, "reconnect" if what.is_up else "disconnect", "", "", ""))
        return
    try:
        if isinstance(what, Settlement):
            reports = played.venue.settle(now, what.instrument, what.price, what.final)
        elif isinstance(what, BookOrder):
            reports = played.venue.on_book_order(now, what)
        else:
            reports = played.venue.on_market(now, what)
            if event.is_status:
                played.notes.append(Note(now, "status", "", *event.status()))
    except NoReferencePriceError as error:
        played.errors.append((event.t, str(error)))
        return
    played.reports.extend(reports)


def _arrive(played: Played, command: TimedCommand, now: int) -> None:
    if any(command.t >= start and (end is None or command.t < end) for start, end in played.outages):
        # A client that is cut off cannot send; what was under way before still arrives.
        played.unsent.append(command)
        text = f"{command.action} {command.order}" if command.order else command.action
        played.notes.append(Note(played.document.epoch_ns + command.t, "unsent", "", "", text))
        return
    played.reports.extend(played.venue.on_command(played.document.epoch_ns + now, command.command))


def run_files(paths: Sequence[str | Path]) -> int:
    """Play each file and print its result as one line of JSON. Returns 0, or 2 when a file is malformed."""
    code = 0
    for path in paths:
        try:
            print(json.dumps(Scenario.from_file(path).run()))
        except ScenarioError as error:
            print(error, file=sys.stderr)
            code = 2
    return code


def check_files(paths: Sequence[str | Path]) -> int:
    """Play each file and print how it differs from what it expects.

    Returns 0 when all agree, 1 when one differs, 2 when one is malformed (file and key are named).
    """
    code = 0
    for path in paths:
        try:
            found = Scenario.from_file(path).check()
        except ScenarioError as error:
            print(error if error.file else f"{path}: {error}", file=sys.stderr)
            code = 2
            continue
        print(_printable(f"{path}: {'differs' if found else 'ok'}"))
        for line in found:
            print(_printable(f"  {line}"))
        code = max(code, 1 if found else 0)
    return code


def _printable(line: str) -> str:
    """Return the line as the output's encoding can carry it: names in a document may hold any character."""
    encoding = sys.stdout.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)
