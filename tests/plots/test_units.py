"""Figures of unit values."""

import numpy as np
import pytest

from charrnn.plots.units import quantity_limits


def test_gates_range_from_0_to_1_and_only_c_has_the_range_of_its_values():
    values = np.array([0.2, -3.5])
    limits = [quantity_limits(name, values) for name in ("f", "h", "tanh(c)", "c")]
    assert limits == [(0, 1), (-1, 1), (-1, 1), (-3.5, 3.5)]


@pytest.mark.parametrize("number", [1, 3])
def test_a_figure_names_several_units_and_shows_any_character(number, tmp_path, recwarn):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from charrnn.plots.figures import save_figure
    from charrnn.plots.units import draw_units

    text = "a $x$ \\frac{<b>} &\x1b[31m\u202e\n" * 30 + "猫"
    values = np.random.default_rng(6).uniform(-1, 1, (len(text), number))
    figure = draw_units(text, values, [f"unit {n}" for n in range(number)], "h")
    save_figure(figure, tmp_path / "u.svg")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[:3] == ([] if number == 1 else ["unit 0", "unit 1", "unit 2"])
    assert (tmp_path / "u.svg").read_bytes().startswith(b"<?xml")
    # An old Matplotlib calls functions that a new pyparsing has deprecated.
    assert [str(each.message) for each in recwarn if not issubclass(each.category, DeprecationWarning)] == []


def test_the_colours_of_a_unit_are_its_values_in_the_lines_of_the_text():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from charrnn.plots.units import draw_units

    values = np.array([[0.1], [0.2], [0.3], [-0.4]])
    figure = draw_units("ab\nc", values, ["0.7"], "h")
    (image,) = figure.axes[0].get_images()
    np.testing.assert_array_equal(image.get_array().filled(9), [[0.1, 0.2, 0.3], [-0.4, 9, 9]])
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b", "↵", "c"]
    assert image.colorbar.ax.get_ylabel() == "h of unit 0.7"
