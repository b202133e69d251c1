"""How a cell is wired, read from the running dispatcher and drawn as Mermaid."""

from argparse import Namespace
from collections import defaultdict

from actors.dispatcher import Dispatcher
from daemon.app import build_cell
from daemon.check import load_or_exit
from daemon.config import parse
from daemon.init import text
from daemon.kinds import KINDS
from venues.port import Lane, Message, Report

_VENUES = "venues"
_CELL = "cell"


def main(arguments: Namespace) -> int:
    """Print the wiring of a configuration, or of the one that `basisd init` writes."""
    config = load_or_exit(arguments.config) if arguments.config else parse(text(), "basisd init", KINDS)
    print(mermaid(build_cell(config).dispatcher), end="")
    return 0


def edges(dispatcher: Dispatcher) -> dict[tuple[str, str], list[str]]:
    """Return the message names that flow from one node to another.

    Nodes are actor names, `venues` (reports in, commands out) and `cell` (operator and the cell's own messages).
    """
    publishers: dict[type[Message], list[str]] = defaultdict(list)
    for name, actor in dispatcher.actors.items():
        for kind in actor.publishes:
            publishers[kind].append(name)
    flows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for kind, slots in dispatcher.subscriptions().items():
        outside = _VENUES if issubclass(kind, Report) and kind.lane is not Lane.CONTROL else _CELL
        for slot in slots:
            for source in publishers.get(kind) or [outside]:
                flows[source, slot.actor].append(kind.__name__)
    for name, actor in dispatcher.actors.items():
        for command in actor.sends:
            flows[name, _VENUES].append(command.__name__)
    return {pair: sorted(names) for pair, names in sorted(flows.items())}


def mermaid(dispatcher: Dispatcher) -> str:
    """Return the wiring as a Mermaid flowchart; edges carry the messages, dotted ones are commands to venues."""
    lines = ["flowchart LR", f"    {_VENUES}([venues])", f"    {_CELL}([operator and cell])"]
    lines += [f"    {name}[{name.replace('_', ' ')}]" for name in dispatcher.actors]
    for (source, target), names in edges(dispatcher).items():
        arrow = "-.->" if target == _VENUES else "-->"
        lines.append(f"    {source} {arrow}|{'<br>'.join(names)}| {target}")
    return "\n".join(lines) + "\n"
