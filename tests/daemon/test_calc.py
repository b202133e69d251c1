"""The calculator's command: answers by line, errors that name the field, vectors, and one question for a person."""

import json
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from daemon import cli
from daemon.calc import main as command
from daemon.calc.core import CALCULATIONS, answer, loads
from daemon.calc.main import AREAS, check, respond
from daemon.calc.words import EXAMPLES, MEANINGS

for _area in AREAS:
    import_module(f"daemon.calc.{_area}")

GUIDE = (Path(__file__).parents[2] / "docs" / "calc.md").read_text()
POV = {"rate": "0.2", "others_volume": "400"}


def ask(**changes):
    question = {"id": 1, "calc": "exec.pov_child", "in": POV} | changes
    return respond(json.dumps({key: value for key, value in question.items() if value is not ...}))


def in_a_process(*arguments, given=b""):
    return subprocess.run(
        [sys.executable, "-m", "daemon.cli", "calc", *arguments],
        input=given,
        capture_output=True,
        timeout=60,
        check=False,
    )


# Lines


def test_an_answer_by_line():
    assert ask() == {"id": 1, "calc": "exec.pov_child", "out": {"quantity": "100"}}


@pytest.mark.parametrize("identity", [None, "a", 7, 1.5, True])
def test_the_id_comes_back(identity):
    assert ask(id=identity)["id"] == identity


@pytest.mark.parametrize(
    ("changes", "kind", "field"),
    [
        ({"calc": "exec.pov"}, "UnknownCalculation", "calc"),
        ({"calc": "nothing"}, "UnknownCalculation", "calc"),
        ({"calc": ...}, "MissingField", "calc"),
        ({"calc": 3}, "BadValue", "calc"),
        ({"id": [1]}, "BadValue", "id"),
        ({"in": ...}, "MissingField", "in"),
        ({"in": []}, "BadInput", "in"),
        ({"into": {}}, "UnknownField", "into"),
        ({"in": {"rate": "0.2"}}, "MissingField", "others_volume"),
        ({"in": POV | {"more": 1}}, "UnknownField", "more"),
        ({"in": POV | {"rate": "NaN"}}, "BadValue", "rate"),
        ({"in": POV | {"rate": "Infinity"}}, "BadValue", "rate"),
        ({"in": POV | {"rate": "1_0"}}, "BadValue", "rate"),
        ({"in": POV | {"rate": " 1"}}, "BadValue", "rate"),
        ({"in": POV | {"rate": "٣"}}, "BadValue", "rate"),
        ({"in": POV | {"rate": True}}, "BadValue", "rate"),
        ({"in": POV | {"rate": None}}, "BadValue", "rate"),
        ({"in": POV | {"rate": []}}, "BadValue", "rate"),
        ({"in": POV | {"rate": "1e999999999"}}, "BadValue", "rate"),
        ({"in": POV | {"rate": "1e-999"}}, "BadValue", "rate"),
        ({"in": POV | {"rate": 10**80}}, "BadValue", "rate"),
        ({"calc": "cme.last_trading_day", "in": {"contract": 5}}, "BadValue", "contract"),
        ({"calc": "cme.session", "in": {"product": "ES", "at": "2026-1-5T1:1:1Z"}}, "BadValue", "at"),
        ({"calc": "cme.session", "in": {"product": "ES", "at": "2026-02-30T10:00:00Z"}}, "BadValue", "at"),
        ({"calc": "cme.settlement_window", "in": {"product": "ES", "date": "20260105"}}, "BadValue", "date"),
    ],
)
def test_an_error_names_its_field(changes, kind, field):
    reply = ask(**changes)
    assert (reply["error"]["type"], reply["error"]["field"]) == (kind, field)
    assert len(reply["error"]["message"]) < 300


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "not JSON"),
        ("[1]", "expected an object"),
        ("{", "not JSON"),
        ('{"id": NaN}', "NaN is not a number"),
        ('{"id": -Infinity}', "-Infinity is not a number"),
        ('{"id": 1, "id": 2}', "given twice"),
        ('{"id": 1, "in": {"a": 1, "b": 2, "a": 3}}', "given twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        (b'{"id": "\xff"}', "not UTF-8 at byte 9"),
        ('{"id": ' + "1" * 5000 + "}", "not JSON"),
        (b'{"id": 1}' + b" " * command.LINE_LIMIT, "longer than"),
    ],
)
def test_what_is_no_question(line, message):
    error = respond(line)["error"]
    assert error["type"] == "BadJson"
    assert message in error["message"]


def test_nesting_that_json_allows_is_refused_all_the_same():
    deep = "[" * 900 + "]" * 900
    reply = respond(f'{{"id": 1, "calc": "exec.vwap_schedule", "in": {{"qty": 1, "step": 1, "weights": [{deep}]}}}}')
    assert reply["error"]["field"] == "weights[0]"


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_no_line_is_fatal(line):
    json.dumps(respond(line))


@given(
    st.sampled_from(sorted(CALCULATIONS)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["1", "-1", "0", "1e50"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ),
    st.data(),
)
def test_no_input_is_a_fault(name, value, data):
    """Whatever stands in one field of a question that has an answer, the reply is an answer or names the field."""
    question = {key: as_json(name, key, text) for key, text in EXAMPLES[name].items()}
    key = data.draw(st.sampled_from(sorted(question)))
    reply = respond(json.dumps({"id": 1, "calc": name, "in": question | {key: value}}, default=str))
    assert "out" in reply or reply["error"]["type"] != "Fault", reply


def as_json(name, key, text):
    return text if key in CALCULATIONS[name].texts else command._value(text)


def test_a_mistake_of_ours_is_a_fault_of_one_line(monkeypatch):
    def broken(_: object) -> dict[str, object]:
        raise KeyError("none")

    monkeypatch.setitem(CALCULATIONS, "exec.pov_child", evolve(CALCULATIONS["exec.pov_child"], function=broken))
    assert ask()["error"]["type"] == "Fault"


def test_standard_input_to_standard_output():
    lines = [
        b'{"id": 1, "calc": "exec.pov_child", "in": {"rate": "0.2", "others_volume": 400}}',
        b"",
        b"\xff",
        b'{"id": 2}',
    ]
    done = in_a_process(given=b"\r\n".join(lines))
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert [reply["id"] for reply in replies] == [1, None, 2]
    assert [sorted(set(reply) - {"id", "calc"}) for reply in replies] == [["out"], ["error"], ["error"]]
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_line_beyond_the_limit_is_skipped_whole(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "LINE_LIMIT", 100)
    path = tmp_path / "lines"
    path.write_bytes(b"x" * 350 + b"\n" + b"y" * 100 + b"\n" + b"z")
    with path.open("rb") as file:
        assert [(number, line[:1]) for number, line in command._lines(file)] == [(1, b"x"), (2, b"y"), (3, b"z")]


def test_a_reader_that_leaves_ends_the_command_quietly():
    with subprocess.Popen(
        [sys.executable, "-m", "daemon.cli", "calc"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(b'{"id": 1}\n' * 100)
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141


def test_a_question_imports_its_area_alone():
    script = (
        "import sys\nfrom daemon.calc.main import respond\n"
        'line = \'{"id": 1, "calc": "exec.pov_child", "in": {"rate": "0.2", "others_volume": "4"}}\'\n'
        'assert "out" in respond(line)\n'
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert "daemon.calc.execution" in loaded
    assert not {"daemon.calc.crypto", "daemon.calc.cme", "daemon.calc.span", "numba", "numpy", "trio"} & loaded


# Vectors


def vector(**changes):
    return json.dumps({"id": "v", "calc": "exec.pov_child", "in": POV, "expect": {"quantity": "100"}} | changes)


@pytest.mark.parametrize(
    ("line", "difference"),
    [
        (vector(), None),
        (vector(expect={"quantity": "100.00"}), None),
        (vector(expect={"quantity": "100.1"}, tol="0.1"), None),
        (vector(expect={"quantity": "100.1"}), "v exec.pov_child.quantity: expected 100.1, got 100"),
        (vector(expect={"other": 1}), "v exec.pov_child.other: expected 1, got nothing"),
        (vector(expect={"quantity": None}), "v exec.pov_child.quantity: expected None, got 100"),
        (vector(expect={}), "v exec.pov_child: no expectation"),
        (vector(tol="wide"), "v exec.pov_child: tol: 'wide' is not a number"),
        (vector(**{"in": {}}), "v exec.pov_child: MissingField rate: missing"),
        (vector(**{"in": {}, "expect": {"error": True}}), None),
        (vector(**{"in": {}, "expect": {"error": {"field": "rate"}}}), None),
        (
            vector(**{"in": {}, "expect": {"error": {"field": "x"}}}),
            "v exec.pov_child: error.field: expected x, got rate",
        ),
        (vector(expect={"error": True}), 'v exec.pov_child: expected an error, got {"quantity": "100"}'),
        ("{", "?: not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ],
)
def test_differences_are_one_line_each(tmp_path, capsys, line, difference):
    path = tmp_path / "vectors.jsonl"
    path.write_text(f"\n{line}\n")
    assert check(path) == (0 if difference is None else 1)
    assert capsys.readouterr().out == ("" if difference is None else f"{path}:2: {difference}\n")


def test_a_file_of_nothing_is_no_pass(tmp_path, capsys):
    path = tmp_path / "vectors.jsonl"
    path.write_text("\n")
    assert check(path) == 1
    assert "no vectors" in capsys.readouterr().out
    assert cli.main(["calc", "--check", str(tmp_path / "missing")]) == 2


def test_the_published_vectors(data_dir, capsys):
    folder = data_dir.parent / "vectors"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: the published vectors are needed")
    files = sorted(folder.glob("*.jsonl"))
    assert files
    for path in files:
        assert check(path) == 0, capsys.readouterr().out
    assert capsys.readouterr().out == ""


# One question


@pytest.mark.parametrize("name", sorted(CALCULATIONS))
def test_every_calculation_has_an_example_with_an_answer_in_words(name, capsys):
    given_pairs = [f"{key}={value}" for key, value in EXAMPLES[name].items()]
    assert cli.main(["calc", name, *given_pairs]) == 0
    out = answer(name, {key: as_json(name, key, text) for key, text in EXAMPLES[name].items()})
    printed = capsys.readouterr().out
    for key in out:
        assert re.search(rf"^{key}\b", printed, re.MULTILINE)
    assert set(out) & set(MEANINGS)


def test_missing_fields_say_what_is_taken(capsys):
    assert cli.main(["calc", "binance.liquidation_price"]) == 2
    said = capsys.readouterr().err
    for key, kind in CALCULATIONS["binance.liquidation_price"].kinds.items():
        assert key in said
        assert kind in said
    assert "isolated or cross" in said
    assert "basisd calc binance.liquidation_price margin_mode=isolated" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["exec.pov"], "'exec.pov' is not a calculation"),
        (["exec.pov"], "exec.pov_child"),
        (["exec.pov_child", "rate"], "'rate' is not written key=value"),
        (["exec.pov_child", "rate=1", "rate=2"], "rate: given twice"),
        (["exec.pov_child", "rate=NaN", "others_volume=1"], "rate: expected a number, got 'NaN'"),
        (["exec.pov_child", "rate=0.1", "others_volume=1", "volume=1"], "volume: unknown field"),
        (["cme.last_trading_day", "contract=2026"], "contract"),
    ],
)
def test_mistakes_of_a_person(arguments, said, capsys):
    assert cli.main(["calc", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_the_list_names_every_calculation_with_its_fields(capsys):
    assert cli.main(["calc", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(CALCULATIONS)
    assert "exec.pov_child  rate others_volume" in lines


def test_numbers_enter_exactly():
    assert str(loads("0.10")) == "0.10"


# The guide


def examples():
    for block in re.findall(r"(?:^    .*\n)+", GUIDE, re.MULTILINE):
        lines = [line[4:] for line in block.splitlines()]
        if lines[0].startswith("$ "):
            yield lines[0][2:], "\n".join(lines[1:])


@pytest.mark.parametrize(("line", "printed"), list(examples()))
def test_what_the_guide_shows_is_what_is_printed(line, printed):
    asked, _, told = line.rpartition(" | ") if line.startswith("echo") else ("", "", line)
    given_bytes = shlex.split(asked)[1].encode() if asked else b""
    done = in_a_process(*shlex.split(told)[2:], given=given_bytes)
    assert (done.stdout + done.stderr).decode().rstrip("\n") == printed
