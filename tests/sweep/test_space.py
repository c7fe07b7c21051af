"""What --grid and --search mean."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import UsageError
from charrnn.sweep.space import Dimension, Plan, parse_grid, parse_search, parse_space

finite = st.floats(1e-9, 1e9)


@given(finite, finite)
def test_a_range_of_numbers_is_read_as_written(low, high):
    for kind in ("log", "float"):
        text = f"lr={kind}:{low!r}:{high!r}"
        if low < high:
            assert parse_search(text) == Dimension("learning_rate", kind, low, high)
        else:
            with pytest.raises(UsageError, match="is not below"):
                parse_search(text)


@given(st.lists(st.integers(1, 65536), min_size=1, unique=True))
def test_listed_values_are_read_as_written(values):
    text = ",".join(map(str, values))
    expected = Dimension("hidden_size", "choice", choices=tuple(values)).choices
    assert parse_grid(f"hidden-size={text}").choices == expected
    assert parse_search(f"hidden_size=choice:{text}").choices == expected


@given(st.text())
def test_any_other_text_is_an_error_of_the_user(text):
    for parse in (parse_grid, parse_search):
        for name in ("", "cell=", "lr=", "lr=log:", "hidden-size=int:"):
            try:
                parse(name + text)
            except UsageError:
                continue


def test_values_have_the_type_of_their_option():
    assert parse_search("hidden-size=log:8:64").low == 8
    assert isinstance(parse_search("hidden-size=log:8:64").low, int)
    assert parse_grid("lr=1,0.5").choices == (1.0, 0.5)
    assert isinstance(parse_grid("lr=1,0.5").choices[0], float)
    assert parse_grid("lines=true,false").choices == (True, False)
    assert parse_grid("--cell=lstm, gru").choices == ("lstm", "gru")


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("grid", "cell", "--grid cell: not of the form NAME=..."),
        ("grid", "colour=1,2", "--grid colour=1,2: charrnn train has no option --colour to vary"),
        ("grid", "hidden-size=8,x", "--grid hidden-size=8,x: 'x' is not a whole number"),
        ("grid", "hidden-size=8,0", "--hidden-size 0: must be at least 1"),
        ("grid", "hidden-size=8,8", "--grid hidden-size=8,8: a value is given twice"),
        ("grid", "cell=lstm,tree", "--cell tree: not one of lstm, gru, rnn"),
        ("grid", "lines=yes", "--grid lines=yes: 'yes' is not true or false"),
        ("search", "lr=0.1", "--search lr=0.1: '0.1' is not one of log, int, float, choice"),
        ("search", "lr=log:1", "--search lr=log:1: not of the form NAME=log:LOW:HIGH"),
        ("search", "lr=log:0:1", "--search lr=log:0:1: a logarithmic range starts above 0"),
        ("search", "lr=int:1:2", "--search lr=int:1:2: --learning-rate goes with float, log, choice"),
        ("search", "num-layers=float:1:2", "--search num-layers=float:1:2: --num-layers goes with int, log, choice"),
        ("search", "cell=int:1:2", "--search cell=int:1:2: --cell goes with choice"),
        ("search", "dropout=float:0:1", "--dropout 1.0: must be less than 1"),
        ("search", "lr=float:nan:1", "--learning-rate nan: must be a finite number"),
    ],
)
def test_what_cannot_be_meant_is_named(option, text, message):
    with pytest.raises(UsageError) as error:
        {"grid": parse_grid, "search": parse_search}[option](text)
    assert error.value.message == message


@pytest.mark.parametrize(
    ("grid", "search", "options", "message"),
    [
        ([], [], {}, "nothing to vary: give --grid or --search"),
        (["lr=1"], ["cell=choice:gru"], {}, "--grid and --search exclude each other"),
        (["lr=1", "learning-rate=2"], [], {}, "--learning-rate is varied twice"),
        ([], ["lr=log:1:2"], {"learning_rate": 0.1}, "--learning-rate is both given and varied"),
    ],
)
def test_a_space_is_made_of_different_options(grid, search, options, message):
    with pytest.raises(UsageError) as error:
        parse_space(grid, search, options)
    assert error.value.message == message


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_a_grid_has_every_combination_once(sizes):
    names = ("hidden_size", "num_layers", "batch_size")
    space = tuple(
        Dimension(name, "choice", choices=tuple(range(1, n + 1))) for name, n in zip(names, sizes, strict=False)
    )
    points = [tuple(point.values()) for point in plan(space, is_grid=True).points()]
    assert len(points) == len(set(points)) == math.prod(sizes)


def test_of_a_search_both_ends_of_every_range_are_checked():
    space = parse_space([], ["lr=log:0.001:0.1", "cell=choice:lstm,gru"], {})
    points = list(plan(space, is_grid=False).points())
    assert {point["learning_rate"] for point in points} == {0.001, 0.1}
    assert {point["cell"] for point in points} == {"lstm", "gru"}


def plan(space, *, is_grid):
    return Plan(("corpus.txt",), {}, space, is_grid, "study", trials=1)
