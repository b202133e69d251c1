"""Which class a strategy's `kind` means, and what is said of one that means none."""

import sys

import attrs
import pytest

from daemon.app import build_actors
from daemon.config import parse
from daemon.config_schema import Strategy as StrategyConfig
from daemon.init import text
from daemon.kinds import ACTORS, KINDS, STRATEGIES, make_strategy, strategy_class

MODULE = """
from attrs import frozen
from basisd import Strategy

class Mine(Strategy):
    @frozen
    class Config:
        size: int

class Plain(Strategy):
    pass

class NoAttrs(Strategy):
    Config = dict

class Other:
    pass

number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_strategies.py").write_text(MODULE)
    (tmp_path / "my_broken.py").write_text("def (:\n")
    monkeypatch.setattr("sys.path", list(sys.path))
    return tmp_path


def test_a_class_of_a_folder_is_found(folder):
    mine = strategy_class("my_strategies:Mine", [folder])
    made = make_strategy(StrategyConfig("one", "my_strategies:Mine", mine.Config(3), mine), {})
    assert (type(made), made.name, made.config.size) == (mine, "one", 3)


def test_each_folder_has_its_own_module_of_a_name(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "my_strategies.py").write_text(MODULE.replace("size", "length"))
    for looked, name in (([folder, other], "size"), ([other, folder], "length"), ([folder], "size")):
        assert [one.name for one in attrs.fields(strategy_class("my_strategies:Mine", looked).Config)] == [name]


def test_a_module_here_does_not_replace_one_of_python(folder):
    (folder / "random.py").write_text("Mine = 3")
    with pytest.raises(ValueError, match=r"Mine of /.*python.*/random.py is not a Strategy"):
        strategy_class("random:Mine", [folder])


def test_a_strategy_needs_no_configuration_of_its_own(folder):
    assert attrs.fields(strategy_class("my_strategies:Plain", [folder]).Config) == ()


@pytest.mark.parametrize("kind", STRATEGIES)
def test_a_strategy_of_this_project_is_where_the_table_says(kind):
    assert attrs.has(KINDS.strategy(kind, ()).Config)


def test_no_strategy_takes_an_actor_s_name():
    config = parse(text(), "init", KINDS)
    assert {actor.name for actor in build_actors(config)} - config.strategies.keys() == ACTORS - {"venues", "cell"}


@pytest.mark.parametrize(
    "source",
    ["raise RuntimeError('no luck')", "import sys\nsys.exit('no luck')", "no luck", "1 / 0", "import no_such_module"],
)
def test_a_module_that_cannot_be_imported_says_why(folder, source):
    (folder / "my_unlucky.py").write_text(source)
    with pytest.raises(ValueError, match=r"'my_unlucky:Mine' cannot be imported: .*(luck|zero|No module)"):
        strategy_class("my_unlucky:Mine", [folder])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nothing", r"is not one of .*module:Class"),
        ("no_such_module:Mine", "cannot be imported: No module named .*; looked in /"),
        ("my_broken:Mine", "cannot be imported"),
        ("my_strategies:Yours", "is not a Strategy"),
        ("my_strategies:number", "is not a Strategy"),
        ("my_strategies:Other", "is not a Strategy"),
        ("cash_and_cary", "did you mean 'cash_and_carry'"),
        (":Mine", "is not written module:Class"),
        ("my_strategies:NoAttrs", "its Config is not an attrs class"),
        ("my_strategies:", "is not written module:Class"),
        (".my_strategies:Mine", "is not written module:Class"),
    ],
)
def test_a_kind_that_means_nothing_is_refused(folder, kind, said):
    with pytest.raises(ValueError, match=said):
        strategy_class(kind, [folder])
