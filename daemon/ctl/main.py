"""Which command `basisctl` runs. Nothing but the chosen command is imported."""

import argparse
import sys
from collections.abc import Sequence

from daemon.running import run

_SHOW, _CHANGE = "daemon.ctl.commands:show", "daemon.ctl.commands:change"
COMMANDS = {
    "status": _SHOW,
    "positions": "daemon.ctl.commands:positions",
    "orders": _SHOW,
    "baskets": _SHOW,
    "incidents": _SHOW,
    "margin": _SHOW,
    "guards": _SHOW,
    "funding": _SHOW,
    "events": "daemon.ctl.commands:events",
    "kill": "daemon.ctl.stopping:main",
    "panic": "daemon.ctl.stopping:main",
    "arm": _CHANGE,
    "drain": _CHANGE,
    "flags": "daemon.ctl.commands:flags",
    "limits": "daemon.ctl.commands:limits",
    "alerts": _SHOW,
    "halt": "daemon.ctl.commands:halt",
    "release": "daemon.ctl.commands:release",
    "ack": _CHANGE,
    "history": "daemon.ctl.commands:history",
    "executions": "daemon.ctl.commands:executions",
    "top": "daemon.ctl.top:main",
    "completion": "daemon.ctl.completion:main",
}
"""Where each command is: a function that takes the parsed arguments and returns the exit status."""

LEVELS = {
    "reduce": "reduce_only",
    "cancel": "cancel_all",
    "flatten": "flatten",
    "reduce_only": "reduce_only",
    "cancel_all": "cancel_all",
}
"""What a kill level is called here, and what the daemon calls it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 refused or failed, 2 usage, 3 nobody answers."""
    return run("basisctl", COMMANDS, parser().parse_args(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the whole grammar; the global options may stand before or behind the command."""
    whole = argparse.ArgumentParser(
        prog="basisctl", description="Look at a running basisd and steer it.", parents=[_common()], allow_abbrev=False
    )
    whole.set_defaults(state=None, socket=None, json=False, timeout=5.0)
    common = _common()
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, said: str, reason: bool | None = None) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = commands.add_parser(
            name, help=said, description=said, parents=[common], allow_abbrev=False
        )
        if reason is not None:
            made.add_argument("--reason", default="", required=reason, metavar="TEXT", help="why; it is journaled")
        return made

    add("status", "the desk in one glance")
    positions = add("positions", "open positions and wallets; where they differ from the venue's", reason=False)
    positions.add_argument("--mismatches", action="store_true", help="what differs from the venue instead")
    positions.add_argument("--all", action="store_true", help="also the mismatches that are over")
    positions.add_argument("--limit", type=int, default=200, metavar="N", help="mismatches; default: %(default)s")
    positions.add_argument(
        "--adopt", metavar="ACCOUNT", help="accept what differs there as not the desk's; needs --reason"
    )
    positions.add_argument("what", nargs="?", default="", metavar="WHAT", help="an instrument, an asset; else the mode")
    for name, said in (("orders", "orders that may still fill"), ("baskets", "baskets at work or open")):
        listed = add(name, said)
        listed.add_argument("--all", action="store_true", help="also the ended ones that are remembered")
        listed.add_argument("--limit", type=int, default=200, metavar="N", help="default: %(default)s")
    incidents = add("incidents", "legs that filled unevenly, what was done, what it cost")
    incidents.add_argument("--limit", type=int, default=50, metavar="N", help="default: the last %(default)s")
    add("margin", "each account's margin")
    add("guards", "what the risk guards find, and the exposure they go by")
    add("funding", "funding expected and paid")
    events = add("events", "what happened, and what happens")
    events.add_argument("--follow", action="store_true", help="go on as things happen")
    events.add_argument("--since", type=int, metavar="NUMBER", help="events after this one")
    events.add_argument("--limit", type=int, default=50, metavar="N", help="default: the last %(default)s")

    kill = add("kill", "stop trading to a level, through the guard if it answers", reason=False)
    kill.add_argument("level", choices=list(LEVELS), metavar="LEVEL", help="reduce, cancel or flatten")
    add("panic", "flatten now, without the desk", reason=False)
    add("arm", "release the kill level", reason=True)
    drain = add("drain", "open nothing new", reason=False)
    drain.add_argument("--off", action="store_true", help="open again")
    flags = add("flags", "how each feature runs; with arguments: switch one", reason=False)
    flags.add_argument("feature", nargs="?", metavar="FEATURE", help="a strategy's id, or global")
    modes = ["disabled", "shadow", "canary", "production"]
    flags.add_argument("mode", nargs="?", choices=modes, metavar="MODE", help=", ".join(modes))
    flags.add_argument(
        "percent", nargs="?", type=int, metavar="PERCENT", help="canary: the share of baskets let through"
    )
    limits = add("limits", "the limits that hold; with arguments: make one tighter", reason=False)
    limits.add_argument("instrument", nargs="?", metavar="INSTRUMENT", help="an instrument's id, or desk")
    limits.add_argument("key", nargs="?", metavar="KEY")
    limits.add_argument("value", nargs="?", metavar="VALUE")
    add("alerts", "what people are told of now, and what was over last")
    scopes = ["strategy", "account", "venue"]
    halt = add("halt", "parts of the desk that are stopped; with arguments: stop one", reason=False)
    halt.add_argument("scope", nargs="?", choices=scopes, metavar="SCOPE", help=", ".join(scopes))
    halt.add_argument("name", nargs="?", metavar="NAME")
    halt.add_argument("level", nargs="?", choices=["reduce", "cancel"], metavar="LEVEL", help="default: reduce")
    release = add("release", "let a part of the desk go on", reason=True)
    release.add_argument("scope", choices=scopes, metavar="SCOPE", help=", ".join(scopes))
    release.add_argument("name", metavar="NAME")
    ack = add("ack", "say that the alarms so far were seen", reason=False)
    ack.add_argument("number", nargs="?", type=int, metavar="NUMBER", help="up to this event; default: the last")

    executions = add("executions", "what was executed and what it cost: shown, summed up or exported")
    tables = ("children", "parents", "fills", "baskets", "legs")
    executions.add_argument(
        "table", nargs="?", choices=tables, default="children", metavar="TABLE", help=_names(tables)
    )
    keys = ("strategy", "venue", "symbol", "hour")
    executions.add_argument("--by", choices=keys, metavar="KEY", help=f"sum the child orders up by {_names(keys)}")
    executions.add_argument("--since", metavar="T", help="2026-01-15T15:50Z, 2026-01-15, or 90m before the last")
    executions.add_argument("--until", metavar="T", help="before then")
    for name in keys[:3]:
        executions.add_argument(f"--{name}", metavar=name.upper(), help=f"of this {name} only")
    executions.add_argument("--limit", type=int, default=200, metavar="N", help="the last N; 0: all; default: 200")
    executions.add_argument("--parquet", metavar="FILE", help="write all of them to a Parquet file")

    said = "what the logs of all runs tell; basisctl history --help tells how"
    # No word behind it may look like an option here.
    history = commands.add_parser("history", help=said, add_help=False, prefix_chars="\0")
    history.add_argument("rest", nargs="*")
    add("top", "everything on one screen, until q is pressed")
    completion = add("completion", "print a completion script for a shell")
    completion.add_argument("shell", choices=["bash", "zsh", "tcsh"])
    return whole


def _names(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _common() -> argparse.ArgumentParser:
    """Return the global options, each left out of the result when it is not given."""
    made = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    made.add_argument("--state", metavar="DIR", help="the daemon's state folder; default: looked for")
    made.add_argument("--socket", metavar="PATH", help="call this socket, whatever the command")
    made.add_argument("--json", action="store_true", help="print what the daemon answered, as JSON")
    made.add_argument("--timeout", type=_seconds, metavar="S", help="how long to wait for an answer, default: 5")
    return made


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds between 0 and 3600")
    return value


if __name__ == "__main__":
    sys.exit(main())
