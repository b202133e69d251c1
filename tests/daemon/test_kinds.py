"""Which class a strategy's `kind` means, and what is said of one that means none."""

import attrs
import pytest

from daemon.config_schema import Strategy as StrategyConfig
from daemon.kinds import KINDS, STRATEGIES, make_strategy, strategy_class

MODULE = """
from attrs import frozen
from basisd import Strategy

class Mine(Strategy):
    @frozen
    class Config:
        size: int

class Plain(Strategy):
    pass

class Other:
    pass

number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_strategies.py").write_text(MODULE)
    (tmp_path / "my_broken.py").write_text("def (:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_class_of_the_working_directory_is_found(folder):
    mine = strategy_class("my_strategies:Mine")
    assert KINDS.strategy("my_strategies:Mine") is mine.Config
    made = make_strategy(StrategyConfig("one", "my_strategies:Mine", mine.Config(3)), {})
    assert (type(made), made.name, made.config.size) == (mine, "one", 3)


def test_a_strategy_needs_no_configuration_of_its_own(folder):
    assert attrs.fields(KINDS.strategy("my_strategies:Plain")) == ()


@pytest.mark.parametrize("kind", STRATEGIES)
def test_a_strategy_of_this_project_is_where_the_table_says(kind):
    assert attrs.has(KINDS.strategy(kind))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nothing", r"is not one of .*module:Class"),
        ("no_such_module:Mine", "cannot be imported"),
        ("my_broken:Mine", "cannot be imported"),
        ("my_strategies:Yours", "is not a Strategy"),
        ("my_strategies:number", "is not a Strategy"),
        ("my_strategies:Other", "is not a Strategy"),
        ("cash_and_cary", "did you mean 'cash_and_carry'"),
        (":Mine", "is not written module:Class"),
        ("my_strategies:", "is not written module:Class"),
        (".my_strategies:Mine", "is not written module:Class"),
    ],
)
def test_a_kind_that_means_nothing_is_refused(folder, kind, said):
    with pytest.raises(ValueError, match=said):
        strategy_class(kind)
