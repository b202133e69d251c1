"""Which command `basisd` runs. Nothing but the chosen command is imported."""

import argparse
import sys
from collections.abc import Sequence

from daemon.running import run

COMMANDS = {
    "init": "daemon.init:main",
    "check": "daemon.check:main",
    "run": "daemon.live.main:main",
    "paper": "daemon.live.main:main",
    "backtest": "daemon.backtest:main",
    "scenario": "daemon.scenario:main",
    "replay": "daemon.replay:main",
    "graph": "daemon.graph:main",
    "calc": "daemon.calc.main:main",
    "bench": "daemon.bench:main",
    "torture": "daemon.torture.command:main",
    "import": "daemon.import_data:main",
    "record": "daemon.record.command:main",
    "fetch-rules": "daemon.rules.command:main",
    "executions": "daemon.executions.rebuild:main",
    "emulate": "daemon.emulate:main",
}
"""Where each command is: a function that takes the parsed arguments and returns the exit status."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 a check failed, 2 a mistake in usage or configuration."""
    return run("basisd", COMMANDS, _parser().parse_args(arguments))


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - only --version pays for it

        try:
            number = version("basisd")
        except PackageNotFoundError:
            number = "(not installed)"
        print(f"basisd {number}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="basisd", description="A trading daemon for desks that must stay neutral.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    init = commands.add_parser("init", help="write a commented configuration")
    init.add_argument("path", nargs="?", default="basisd.toml", metavar="PATH", help="default: %(default)s")

    check = commands.add_parser("check", help="check a configuration and name every mistake in it")
    check.add_argument("config", metavar="CONFIG")

    _add_live(commands.add_parser("run", help="trade, disarmed until somebody arms"))
    paper = commands.add_parser("paper", help="trade on the simulated venue, a process of its own")
    paper.add_argument("--for", metavar="TIME", help="how long the market lasts, as 60s; default: for ever")
    paper.add_argument("--speed", default="1", metavar="N", help="times as fast as the wall clock, or max")
    _add_live(paper)

    backtest = commands.add_parser("backtest", help="run a configuration on its market")
    backtest.add_argument("config", metavar="CONFIG")
    backtest.add_argument("--out", metavar="DIR", help="where the log and summary.json go; default: a folder per run")
    backtest.add_argument("--json", action="store_true", help="print the summary as JSON")

    scenario = commands.add_parser("scenario", help="ask the simulated venue what would have happened")
    actions = scenario.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, said in (("run", "play each file and print its result"), ("check", "compare with what is expected")):
        actions.add_parser(action, help=said).add_argument("files", nargs="+", metavar="FILE")

    replay = commands.add_parser("replay", help="run a log again")
    replay.add_argument("log", metavar="LOG")
    replay.add_argument("--check", action="store_true", help="compare every intent with the logged one")
    replay.add_argument("--export", action="store_true", help="print the log as JSON lines")

    graph = commands.add_parser("graph", help="print who talks to whom as a Mermaid flowchart")
    graph.add_argument("config", nargs="?", metavar="CONFIG", help="default: the configuration `basisd init` writes")

    calc = commands.add_parser("calc", help="ask a venue's rules: JSON lines from standard input, or one question")
    calc.add_argument("name", nargs="?", metavar="NAME", help="a calculation; --list names them")
    calc.add_argument("pairs", nargs="*", metavar="KEY=VALUE", help="its input; lists and objects are written as JSON")
    calc.add_argument(
        "--list", action="store_true", help="print the calculations and their fields, optional ones with ?"
    )
    calc.add_argument("--check", metavar="FILE", help="compare a file of vectors with what it expects")

    _add_import(commands.add_parser("import", help="bring market data into a store that backtests read"))

    _add_record(commands.add_parser("record", help="write venues' live feeds to files"))
    _add_fetch_rules(commands.add_parser("fetch-rules", help="write a venue's instruments and brackets of today"))

    executions = commands.add_parser("executions", help="look after the database of executions")
    executions.add_argument("action", choices=["rebuild"], help="make it anew from the logs")
    executions.add_argument("folder", metavar="FOLDER", help="a state folder, the folder of a run, or a log")
    executions.add_argument("--above", type=int, default=0, metavar="N", help="only logs with records above this one")
    executions.add_argument("--nice", type=int, default=0, metavar="N", help="give way to others by so much")

    _add_emulate(
        commands.add_parser("emulate", help="serve a venue's protocols on local ports, to test clients against")
    )

    _add_torture(commands.add_parser("torture", help="let everything go wrong to a simulated desk, by seeds"))

    bench = commands.add_parser("bench", help="measure this machine")
    bench.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    bench.add_argument("--json", action="store_true", help="print the results as JSON")
    bench.add_argument("--repeats", type=int, default=5, metavar="N", help="runs per number, default: %(default)s")
    return parser


def _add_emulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("venue", choices=["binance"], metavar="VENUE", help="binance")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="REST; websockets one above; 0: any two")
    parser.add_argument("--address", default="127.0.0.1", metavar="IP", help="default: %(default)s")
    parser.add_argument("--venue", dest="venue_kind", default="usdm", choices=["usdm", "spot"], help="default: usdm")
    parser.add_argument("--market", default="synthetic", metavar="RECORDING", help="default: one made from the seed")
    parser.add_argument("--faults", metavar="FILE", help="what goes wrong, and when (docs/faults.md)")
    parser.add_argument("--public-key", metavar="PEM", help="the public half of an RSA or Ed25519 key that signs, too")
    parser.add_argument("--credentials", metavar="FILE", help="lines api_key = ... and secret = ...; default: new ones")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument("--speed", default="1", metavar="X", help="venue time per time, default: %(default)s")
    parser.add_argument(
        "--start", metavar="MOMENT", help="since when venue time goes at that speed, so that several venues agree on it"
    )
    parser.add_argument("--step-ms", type=int, default=100, metavar="MS", help="venue time between two books")
    parser.add_argument("--balance", action="append", default=[], metavar="ASSET=AMOUNT", help="instead of the usual")
    parser.add_argument("--funding-rate", default="0.0001", metavar="RATE", help="default: %(default)s")
    parser.add_argument("--funding-hours", type=int, default=8, metavar="H", help="1, 2, 4 or 8, default: %(default)s")
    parser.add_argument("--may-withdraw", action="store_true", help="say that the key has withdrawal permission")


def _add_torture(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="how many, default: %(default)s")
    parser.add_argument("--first-seed", type=int, default=1, metavar="S", help="default: %(default)s")
    parser.add_argument("--hours", default="0.25", metavar="H", help="simulated time of each, default: %(default)s")
    parser.add_argument("--faults", default="all", metavar="KIND,...", help="only these, default: %(default)s")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes, default: %(default)s")
    parser.add_argument("--script", metavar="FILE", help="play the faults of a script file instead of seeds")
    parser.add_argument(
        "--shrink", type=int, default=12, metavar="N", help="runs to shrink failures, default: %(default)s"
    )
    parser.add_argument("--out", default=".", metavar="DIR", help="where smallest failing scripts go, default: here")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _add_import(parser: argparse.ArgumentParser) -> None:
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    for source, said, files in (
        ("recording", "raw frames: those of a configuration (.toml), or files of one instrument", "FILE"),
        ("hftbacktest", "an event file of hftbacktest (npz)", "FILE"),
        ("databento", "a DBN file: mbo, mbp-1 or trades", "FILE"),
        ("bybit", "a day of Bybit's order book history (zip)", "FILE"),
    ):
        one = sources.add_parser(source, help=said, description=f"Import {said}.")
        one.add_argument("files", nargs="+" if source == "recording" else 1, metavar=files)
        one.add_argument("--out", required=True, metavar="STORE", help="the store to write")
        one.add_argument("--force", action="store_true", help="replace it when it is there")
        one.add_argument("--json", action="store_true", help="print the report as JSON")
        what = one.add_argument_group("what is in it")
        what.add_argument("--instrument", metavar="VENUE:SYMBOL", help="how the instrument is called here")
        what.add_argument("--config", metavar="CONFIG", help="a configuration that describes it; else say:")
        what.add_argument("--kind", default="perpetual", choices=("spot", "perpetual", "quarterly", "future"))
        for flag, help_ in (("tick", "its tick size"), ("lot", "its lot size"), ("base", "asset"), ("quote", "asset")):
            what.add_argument(f"--{flag}", metavar=flag.upper(), help=help_)
        what.add_argument("--multiplier", default="1", metavar="N", help="units per contract, default: %(default)s")
        if source == "databento":
            what.add_argument("--definition", metavar="FILE", help="a definition file to take all of this from")
            what.add_argument("--instrument-id", type=int, metavar="N", help="which one, when there are several")
        if source == "bybit":
            what.add_argument("--feed-latency-ms", default="5", metavar="MS", help="not recorded; default: %(default)s")
    show = sources.add_parser("show", help="print what a store holds, and check every byte")
    show.add_argument("files", nargs=1, metavar="STORE")
    show.add_argument("--json", action="store_true", help="print it as JSON")


def _add_record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="the instruments of its venues that have endpoints")
    parser.add_argument("--out", required=True, metavar="DIR", help="where files, checksums and their list go")
    parser.add_argument("--for", metavar="TIME", help="how long, as 60s; default: until a signal comes")
    parser.add_argument("--rotate", default="1h", metavar="TIME", help="how long a file may last, default: %(default)s")
    parser.add_argument(
        "--rotate-mib", type=int, default=512, metavar="N", help="how much it may hold, default: %(default)s"
    )
    parser.add_argument(
        "--recorder", default="recorder", metavar="NAME", help="whose clock it is, default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print what was recorded as JSON")


def _add_fetch_rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="ask the venues that have endpoints here, or:")
    parser.add_argument("--rest", metavar="URL", help="the base of a venue's REST interface")
    parser.add_argument("--rules", default="binance_usdm", choices=("binance_usdm", "binance_spot"), help="whose it is")
    parser.add_argument("--venue", metavar="ID", help="how the venue is called here, default: as its rules")
    parser.add_argument(
        "--credential", metavar="FILE", help="an account's key: leverage brackets are told to nobody else"
    )
    parser.add_argument("--symbols", metavar="SYMBOL,...", help="default: those of CONFIG, else all that are traded")
    parser.add_argument("--out", required=True, metavar="DIR", help="where VENUE-DATE.toml goes")


def _add_live(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("--state", metavar="DIR", help="default: $STATE_DIRECTORY, else state/<run name>")
    parser.add_argument("--attach", action="store_true", help="guard and venue are units of their own: start neither")
    parser.add_argument("--metrics-port", type=int, metavar="PORT", help="not the configured one; 0: any free one")
    parser.add_argument("--quiet", action="store_true", help="log warnings and errors only")
    parser.add_argument("--json", action="store_true", help="print the summary at the end as JSON")


if __name__ == "__main__":
    sys.exit(main())
