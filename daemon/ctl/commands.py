"""The commands that ask the desk one thing and print its answer."""

from argparse import Namespace
from importlib import import_module
from typing import Any

from daemon.admin.client import CallFailedError, Client, UnreachableError
from daemon.ctl.places import OPS, PANIC, UNREACHABLE, VIEW, socket_path
from daemon.ctl.tables import print_json
from daemon.ctl.tables import show as show_parts
from daemon.ctl.words import WORDS, Parts, changed, event_line, guard_status
from daemon.exits import FAILED, ExitError

DESK = "desk"
"""What stands where an instrument would, for limits of the whole desk."""


def call(arguments: Namespace, socket: str, method: str, params: dict[str, Any] | None = None) -> Any:
    """Return the daemon's answer. Raises ExitError: 1 when it refuses, 3 when nobody answers."""
    try:
        with Client(socket_path(arguments.state, arguments.socket, socket), arguments.timeout) as client:
            return client.call(method, params)
    except (CallFailedError, UnreachableError) as error:
        raise exit_of(error) from error


def exit_of(error: CallFailedError | UnreachableError) -> ExitError:
    if isinstance(error, CallFailedError):
        return ExitError(error.message, status=FAILED)
    return ExitError(f"no answer: {error}", status=UNREACHABLE)


def _print(arguments: Namespace, told: Any, parts: Parts) -> int:
    if arguments.json:
        print_json(told)
    else:
        show_parts(parts)
    return 0


def show(arguments: Namespace) -> int:
    """Print a view."""
    name = arguments.command
    params = {key: getattr(arguments, key) for key in ("all", "limit") if key in arguments}
    try:
        told = call(arguments, VIEW, name, params)
    except ExitError as error:
        if name != "status" or error.status != UNREACHABLE or arguments.socket:
            raise
        return _guard_status(arguments, error)
    return _print(arguments, told, [] if arguments.json else WORDS[name](told))


def _guard_status(arguments: Namespace, silent: ExitError) -> int:
    """Print what the guard knows when the desk does not answer; the exit status says that it did not."""
    try:
        guard = call(arguments, PANIC, "status")
    except ExitError:
        raise silent from None
    why = "; ".join(silent.lines)
    _print(arguments, {"desk": None, "why": why, "guard": guard}, [f"desk: {why}", *guard_status(guard)])
    return UNREACHABLE


def positions(arguments: Namespace) -> int:
    """Print positions or mismatches, or accept one. Raises ExitError (2) for half of that."""
    if arguments.adopt is not None:
        if not arguments.reason.strip():
            raise ExitError("positions: --adopt needs a --reason")
        params = {"account": arguments.adopt, "what": arguments.what, "reason": arguments.reason}
        told = call(arguments, OPS, "adopt", params)
        return _print(arguments, told, changed(told))
    if arguments.what:
        raise ExitError("positions: WHAT goes with --adopt")
    if not arguments.mismatches:
        told = call(arguments, VIEW, "positions")
        return _print(arguments, told, [] if arguments.json else WORDS["positions"](told))
    told = call(arguments, VIEW, "mismatches", {"all": arguments.all, "limit": arguments.limit})
    return _print(arguments, told, [] if arguments.json else WORDS["mismatches"](told))


def change(arguments: Namespace) -> int:
    """Arm, drain, acknowledge."""
    name = arguments.command
    params: dict[str, Any] = {"reason": arguments.reason}
    if name == "drain":
        params["on"] = not arguments.off
    elif name == "ack" and arguments.number is not None:
        params["number"] = arguments.number
    told = call(arguments, OPS, name, params)
    return _print(arguments, told, changed(told))


def flags(arguments: Namespace) -> int:
    """Print the flags, or set one. Raises ExitError (2) for half of one."""
    if arguments.feature is None:
        told = call(arguments, VIEW, "flags")
    elif arguments.mode is None:
        raise ExitError("flags: FEATURE needs a MODE")
    else:
        params = {"feature": arguments.feature, "mode": arguments.mode, "reason": arguments.reason}
        if arguments.percent is not None:
            params["percent"] = arguments.percent
        elif arguments.mode == "canary":
            raise ExitError("flags: canary needs a PERCENT")
        told = call(arguments, OPS, "set_flag", params)
    return _print(arguments, told, [] if arguments.json else WORDS["flags"](told))


def limits(arguments: Namespace) -> int:
    """Print the limits, or make one tighter. Raises ExitError (2) for half of one."""
    if arguments.instrument is None:
        told = call(arguments, VIEW, "limits")
        return _print(arguments, told, [] if arguments.json else WORDS["limits"](told))
    if arguments.value is None:
        raise ExitError("limits: INSTRUMENT needs a KEY and a VALUE; INSTRUMENT is desk for limits of the whole desk")
    instrument = "" if arguments.instrument == DESK else arguments.instrument
    params = {"instrument": instrument, "key": arguments.key, "value": arguments.value, "reason": arguments.reason}
    told = call(arguments, OPS, "set_limit", params)
    return _print(arguments, told, [f"{arguments.instrument} {told['key']} is {told['value']} from now on"])


def halt(arguments: Namespace) -> int:
    """Print what is stopped, or stop a part. Raises ExitError (2) for half of one."""
    if arguments.scope is None:
        told = call(arguments, VIEW, "halts")
    elif arguments.name is None:
        raise ExitError("halt: SCOPE needs a NAME")
    else:
        level = "cancel_all" if arguments.level == "cancel" else "reduce_only"
        params = {"scope": arguments.scope, "name": arguments.name, "level": level, "reason": arguments.reason}
        told = call(arguments, OPS, "halt", params)
    return _print(arguments, told, [] if arguments.json else WORDS["halts"](told))


def release(arguments: Namespace) -> int:
    """Let a part go on."""
    params = {"scope": arguments.scope, "name": arguments.name, "reason": arguments.reason}
    told = call(arguments, OPS, "release", params)
    return _print(arguments, told, [] if arguments.json else WORDS["halts"](told))


def events(arguments: Namespace) -> int:
    """Print the last events; with --follow also those to come, until interrupted."""
    since = {} if arguments.since is None else {"since": arguments.since}
    if not arguments.follow:
        told = call(arguments, VIEW, "events", {**since, "limit": arguments.limit})
        return _print(arguments, told, [] if arguments.json else WORDS["events"](told))
    try:
        with Client(socket_path(arguments.state, arguments.socket, VIEW), arguments.timeout) as client:
            client.call("events.follow", since)
            for one in client.events():
                if arguments.json:
                    print_json(one)
                else:
                    print(event_line(one), flush=True)
    except (CallFailedError, UnreachableError) as error:
        raise exit_of(error) from error
    return 0


def history(arguments: Namespace) -> int:
    """Read the logs; no daemon is asked. `arguments.rest` are the words behind the command, which it reads itself."""
    status: int = import_module("daemon.history").run(arguments)
    return status


def executions(arguments: Namespace) -> int:
    """Read the database of executions; no daemon is asked."""
    status: int = import_module("daemon.executions.command").main(arguments)
    return status
