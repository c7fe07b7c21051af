"""Parts of the messages of errors."""

import pytest

from charrnn.errors import format_count


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 cells"), (1, "1 cell"), (1.5, "1.5 cells"), (2, "2 cells"), (1500, "1,500 cells")]
)
def test_a_number_agrees_with_its_noun(number, text):
    assert format_count(number, "cell") == text
