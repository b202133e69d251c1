"""Makes scripts from a seed, plays them on Erlang/OTP and writes both down: python record.py > traces.jsonl.

Needs `escript` (Debian: erlang-base). The tests need only what it wrote.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

SEED = 20260115
SCRIPTS = 300
STRATEGIES = ("one_for_one", "rest_for_one", "one_for_all")
RESTARTS = ("permanent", "permanent", "transient", "temporary")


def scripts(seed: int, count: int) -> list[dict[str, object]]:
    chance = Random(seed)
    return [_script(chance) for _ in range(count)]


def _script(chance: Random) -> dict[str, object]:
    ids = "abcd"[: chance.randint(1, 4)]
    return {
        "strategy": chance.choice(STRATEGIES),
        "intensity": chance.choice((0, 1, 2, 3, 5, 8)),
        "children": [[one, chance.choice(RESTARTS)] for one in ids],
        "prepare": [["fail", chance.choice(ids), 1]] if chance.random() < 0.1 else [],
        "steps": [step for _ in range(chance.randint(1, 6)) for step in _steps(chance, ids)],
    }


def _steps(chance: Random, ids: str) -> list[list[object]]:
    """Return steps that belong together: an end, one after which starts fail, several while a start is waited for."""
    first = chance.choice(ids)
    ends: list[list[object]] = [["exit", chance.choice(ids), chance.choice(("normal", "crash"))] for _ in range(3)]
    kind = chance.choice(("end", "end", "fail", "hold", "hold and fail"))
    if kind == "end":
        return [["exit", first, chance.choice(("normal", "crash"))]]
    fails: list[list[object]] = [["fail", chance.choice(ids), chance.randint(1, 3)]] if "fail" in kind else []
    if kind == "fail":
        return [*fails, ["exit", first, "crash"]]
    return [*fails, ["hold", first], ["exit", first, "crash"], *ends[: chance.randint(0, 3)], ["go", first]]


def _term(value: object) -> str:
    if isinstance(value, list):
        return "{" + ",".join(map(_term, value)) + "}"
    return str(value)


def terms(script: dict[str, object]) -> str:
    """Return a script as Erlang reads it."""
    lists = ["[" + ",".join(map(_term, script[name])) + "]" for name in ("children", "prepare", "steps")]  # type: ignore[call-overload]
    return "{" + ",".join([str(script["strategy"]), str(script["intensity"]), *lists]) + "}.\n"


def main() -> None:
    made = scripts(SEED, SCRIPTS)
    with tempfile.NamedTemporaryFile("w", suffix=".terms") as file:
        file.writelines(map(terms, made))
        file.flush()
        command = ["escript", str(Path(__file__).with_name("record.escript")), file.name]
        traces = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    for script, trace in zip(made, traces, strict=True):
        sys.stdout.write(json.dumps(script | {"trace": trace}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
