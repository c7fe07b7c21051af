"""The values of --grid and --search."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import UsageError
from charrnn.sweep.space import (
    Dimension,
    extreme_points,
    grid_points,
    parse_grid,
    parse_search,
    parse_space,
    to_options,
)

positive = st.floats(1e-9, 1e9)


@settings(deadline=None)
@given(positive, positive)
def test_the_bounds_of_a_range_are_parsed_exactly(low, high):
    for kind in ("log", "float"):
        text = f"lr={kind}:{low!r}:{high!r}"
        if low < high:
            assert parse_search(text) == Dimension("learning_rate", kind, low, high)
        else:
            with pytest.raises(UsageError, match="is not less than"):
                parse_search(text)


@settings(deadline=None)
@given(st.lists(st.integers(1, 65536), min_size=1, unique=True))
def test_listed_values_are_parsed_exactly(values):
    text = ",".join(map(str, values))
    assert parse_grid(f"hidden-size={text}").choices == tuple(values)
    assert parse_search(f"hidden_size=choice:{text}").choices == tuple(values)


@settings(deadline=None)
@given(st.text())
def test_arbitrary_text_raises_only_usage_errors(text):
    for parse in (parse_grid, parse_search):
        for name in ("", "cell=", "target=", "lr=", "lr=log:", "hidden-size=int:"):
            try:
                parse(name + text)
            except UsageError:
                continue


def test_values_have_the_type_of_their_option():
    low = parse_search("hidden-size=log:8:64").low
    assert (low, type(low)) == (8, int)
    rates = parse_grid("lr=1,0.5").choices
    assert [(rate, type(rate)) for rate in rates] == [(1.0, float), (0.5, float)]
    assert parse_grid("lines=true,false").choices == (True, False)
    assert parse_grid("--cell=lstm, gru").choices == ("lstm", "gru")
    assert parse_grid("delay=0,3").choices == (0, 3)


def test_a_grid_over_a_list_option_varies_its_single_element():
    dimension = parse_grid("target=demand,price")
    assert dimension.choices == ("demand", "price")
    assert to_options({"target": "price", "cell": "gru"}) == {"target": ["price"], "cell": "gru"}


@pytest.mark.parametrize(
    ("option", "text", "facts"),
    [
        ("grid", "cell", ["--grid cell", "NAME=..."]),
        ("grid", "colour=1,2", ["--grid colour=1,2", "--colour"]),
        ("grid", "hidden-size=8,x", ["--grid hidden-size=8,x", "'x'", "whole number"]),
        ("grid", "hidden-size=8,0", ["--hidden-size 0", "at least 1"]),
        ("grid", "hidden-size=8,8", ["--grid hidden-size=8,8", "twice"]),
        ("grid", "cell=lstm,tree", ["--cell tree", "lstm, gru, rnn"]),
        ("grid", "lines=yes", ["--grid lines=yes", "'yes'", "true or false"]),
        ("search", "lr=0.1", ["--search lr=0.1", "'0.1'", "log, int, float, choice"]),
        ("search", "lr=log:1", ["--search lr=log:1", "NAME=log:LOW:HIGH"]),
        ("search", "lr=log:0:1", ["--search lr=log:0:1", "above 0"]),
        ("search", "lr=int:1:2", ["--search lr=int:1:2", "--learning-rate", "float, log, choice"]),
        ("search", "num-layers=float:1:2", ["--search num-layers=float:1:2", "--num-layers", "int, log, choice"]),
        ("search", "cell=int:1:2", ["--search cell=int:1:2", "--cell", "choice"]),
        ("search", "target=log:1:2", ["--search target=log:1:2", "--target", "choice"]),
        ("search", "dropout=float:0:1", ["--dropout 1.0", "less than 1"]),
        ("search", "lr=float:nan:1", ["--learning-rate nan", "finite"]),
    ],
)
def test_an_invalid_value_is_named_with_its_limit(option, text, facts):
    with pytest.raises(UsageError) as error:
        {"grid": parse_grid, "search": parse_search}[option](text)
    assert [fact for fact in facts if fact not in error.value.message] == []


@pytest.mark.parametrize(
    ("grid", "search", "options", "facts"),
    [
        ([], [], {}, ["--grid or --search"]),
        (["lr=1"], ["cell=choice:gru"], {}, ["--grid and --search cannot be used together"]),
        (["lr=1", "learning-rate=2"], [], {}, ["--learning-rate", "varied twice"]),
        ([], ["lr=log:1:2"], {"learning_rate": 0.1}, ["--learning-rate", "both given and varied"]),
        (["seed=1,2"], [], {}, ["--seed cannot be varied"]),
    ],
)
def test_an_option_is_varied_once_and_not_given_as_well(grid, search, options, facts):
    with pytest.raises(UsageError) as error:
        parse_space(grid, search, options)
    assert [fact for fact in facts if fact not in error.value.message] == []


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_a_grid_contains_each_combination_once(sizes):
    names = ("hidden_size", "num_layers", "batch_size")
    space = tuple(
        Dimension(name, "choice", choices=tuple(range(1, size + 1))) for name, size in zip(names, sizes, strict=False)
    )
    points = [tuple(point.values()) for point in grid_points(space)]
    assert len(points) == len(set(points)) == math.prod(sizes)


def test_extreme_points_contain_both_ends_of_each_range():
    space = parse_space([], ["lr=log:0.001:0.1", "cell=choice:lstm,gru"], {})
    points = list(extreme_points(space))
    assert {point["learning_rate"] for point in points} == {0.001, 0.1}
    assert {point["cell"] for point in points} == {"lstm", "gru"}
