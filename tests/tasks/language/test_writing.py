"""Stop texts, in texts that are written in pieces."""

from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.tasks.language.writing import StoppableText

texts = st.text("ab", max_size=30)
stop_texts = st.lists(st.text("ab", min_size=1, max_size=4), max_size=3)


@settings(deadline=None)
@given(texts, stop_texts, st.data())
def test_a_text_ends_before_the_first_stop_text_whatever_its_pieces(text, stops, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    written = StoppableText(stops)
    released = ""
    for piece in pieces:
        released += written.add(piece)
        if written.done:
            break
    if not written.done:
        released += written.finish()
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    assert written.done == bool(ends)
    assert released == (text[: min(ends)[1]] if ends else text)


def test_a_longer_stop_text_that_begins_earlier_but_ends_later_does_not_count():
    for pieces in (["bbab"], ["bba", "b"], list("bbab")):
        written = StoppableText(["a", "bab"])
        released = [written.add(piece) for piece in pieces if not written.done]
        assert "".join(released) == "bb"


def test_text_is_released_as_soon_as_it_cannot_belong_to_a_stop_text():
    written = StoppableText(["abc"])
    assert [written.add(piece) for piece in "xabab"] == ["x", "", "", "ab", ""]
    assert written.finish() == "ab"
