"""What docs/faults.md shows can be read, and it knows every fault and every key."""

import re
from pathlib import Path

from sim.emulator.fault_rules import KINDS, WHEN, WHERE, On, read_faults, rules_of
from sim.emulator.fault_rules import parse_json as parse

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "faults.md").read_text()
SECTIONS = {
    On.REQUEST: "On requests",
    On.STREAM: "On stream events",
    On.CONNECTION: "On connections",
    On.VENUE: "On the venue",
}


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_file_shown_is_one_that_is_read(tmp_path):
    found = re.search(r"<!-- file -->\n```toml\n(.*?)```\n<!-- /file -->", PAGE, re.DOTALL)
    assert found is not None
    path = tmp_path / "faults.toml"
    path.write_text(found[1])
    assert [rule.on for rule in read_faults(path)] == [On.REQUEST, On.STREAM, On.CONNECTION]


def test_the_command_shown_sets_a_fault():
    [document] = re.findall(r"curl .* -d '(.*)'$", PAGE, re.MULTILINE)
    assert len(rules_of(parse(document.encode()))) == 1


def test_every_kind_is_told_with_its_keys():
    for on, kinds in KINDS.items():
        rows = dict(re.findall(r"^\| `(\w+)` \|(.*?)\|", section(SECTIONS[on]), re.MULTILINE))
        assert set(rows) == {kind.value for kind in kinds}
        for kind, keys in kinds.items():
            assert set(re.findall(r"`(\w+)`", rows[kind.value])) == set(keys)


def test_every_pattern_and_time_is_told():
    when = section("When")
    for on, keys in WHERE.items():
        assert all(f"`{key}`" in section(SECTIONS[on]) for key in keys)
    assert all(f"`{key}`" in when for keys in WHEN.values() for key in keys)
