"""Suggestions for unknown characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.corpus.similar import suggest
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import CorpusError


@pytest.mark.parametrize(
    ("unknown", "known", "suggested"),
    [
        ("\u201c", "ab\"'", '"'),
        ("\u2019", "ab\"'", "'"),
        ("'", "ab\u2019", "\u2019"),
        ("\u2014", "a-", "-"),
        ("\u00a0", "a ", " "),
        ("\u00e9", "abe", "e"),
        ("\uff21", "A", "A"),
        ("R", "romeo", "r"),
        ("\u00c9", "e", "e"),
        ("x", "ab", None),
        ("\u732b", "ab", None),
    ],
)
def test_a_known_symbol_is_suggested(unknown, known, suggested):
    assert suggest(unknown, known) == suggested


@given(st.characters(), st.text())
def test_a_suggestion_is_known(unknown, known):
    other = suggest(unknown, set(known))
    assert other is None or (other in known and other != unknown)


def test_the_error_for_an_unknown_character_suggests_a_symbol():
    with pytest.raises(CorpusError, match=r"did you mean '\"'\?"):
        Vocabulary.of_texts(['say "a"']).encode("say \u201ca")
