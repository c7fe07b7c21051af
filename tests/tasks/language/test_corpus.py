"""From files to the parts of a text: the vocabulary, splits, notices."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from charrnn.corpus import reading
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import CorpusError, UsageError
from charrnn.options import DataOptions
from charrnn.tasks.language.corpus import extend_vocabulary, load_corpus

in_tmp_path = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def corpus_of(tmp_path, text, **config):
    path = tmp_path / "corpus.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_corpus([str(path)], DataOptions(**config))


def vocabulary_of(text, is_bytes=False):
    values = text if is_bytes else map(ord, text)
    return Vocabulary(np.array(sorted(set(values)), np.uint32), is_bytes)


def test_the_vocabulary_is_every_character_once_in_code_point_order(tmp_path):
    corpus = corpus_of(tmp_path, "zebra—über\n😀\0zz", val_fraction=0.0)
    assert "".join(map(chr, corpus.vocabulary.codes)) == "\0\naberzü—😀"
    assert corpus.train[:5].tolist() == [6, 4, 3, 5, 2]


def test_with_bytes_the_vocabulary_is_the_byte_values_that_occur(tmp_path):
    corpus = corpus_of(tmp_path, b"\xff\x00b\xffa", bytes=True, val_fraction=0.0)
    assert corpus.vocabulary.codes.tolist() == [0, 0x61, 0x62, 0xFF]
    assert corpus.train.tolist() == [3, 0, 2, 3, 1]


@in_tmp_path
@given(text=st.text(st.sampled_from("ab\nß—😀"), min_size=3), chunk=st.integers(1, 5))
@example(text="aaaa—", chunk=4)
def test_a_corpus_is_the_same_wherever_its_chunks_end(tmp_path, text, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHUNK", chunk)
        corpus = corpus_of(tmp_path, text, val_fraction=0.0)
    assert corpus.vocabulary.decode(corpus.train) == text


def test_several_files_are_one_text_and_its_fingerprint_that_of_the_text(tmp_path):
    for name, text in {"a": "one —", "b": "two", "whole": "one —two", "other": "one —twe"}.items():
        (tmp_path / name).write_text(text)
    joined, whole, other = (
        load_corpus([str(tmp_path / name) for name in names], DataOptions(val_fraction=0.0))
        for names in (["a", "b"], ["whole"], ["other"])
    )
    assert joined.vocabulary.decode(joined.train) == "one —two"
    assert joined.fingerprint == whole.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("size", "dtype"), [(2, np.uint8), (256, np.uint8), (257, np.uint16), (65536, np.uint16), (65537, np.uint32)]
)
def test_ids_have_the_smallest_type_that_holds_the_vocabulary(tmp_path, size, dtype):
    text = "".join(map(chr, [code for code in range(size + 0x800) if not 0xD800 <= code < 0xE000][:size]))
    corpus = corpus_of(tmp_path, text, val_fraction=0.3)
    assert len(corpus.vocabulary) == size
    assert corpus.train.dtype == corpus.val.dtype == dtype
    assert corpus.vocabulary.decode(np.concatenate([corpus.train, corpus.val])) == text


@in_tmp_path
@given(size=st.integers(2, 400), val=st.floats(0, 0.6), test=st.floats(0, 0.39))
def test_splits_are_contiguous_and_of_the_sizes_asked_for(tmp_path, size, val, test):
    text = "".join(chr(0x4E00 + n) for n in range(size))
    try:
        corpus = corpus_of(tmp_path, text, val_fraction=val, test_fraction=test)
    except CorpusError:
        if size * (1 - val - test) >= 3:
            raise
        return
    parts = corpus.train, corpus.val, corpus.test
    assert "".join(map(corpus.vocabulary.decode, parts)) == text
    for part, share, purpose in ((corpus.val, val, "validate"), (corpus.test, test, "test")):
        assert len(part) != 1
        if len(part):
            assert abs(len(part) - size * share) <= 1 + 1e-6
        else:
            assert not share or any(f"too small to {purpose}" in notice for notice in corpus.notices)


def test_five_characters_train_and_it_is_said_that_they_cannot_validate(tmp_path):
    corpus = corpus_of(tmp_path, "hello")
    assert corpus.vocabulary.decode(corpus.train) == "hello" and len(corpus.val) == 0
    assert "too small to validate" in corpus.notices[0]


@pytest.mark.parametrize(("text", "message"), [("", "empty"), ("\ufeff", "empty"), ("x", "one character is too few")])
def test_a_corpus_without_a_pair_of_characters_is_refused(tmp_path, text, message):
    with pytest.raises(CorpusError, match=message):
        corpus_of(tmp_path, text)


def test_splits_that_leave_nothing_to_train_on_are_refused(tmp_path):
    with pytest.raises(UsageError, match="leave nothing"):
        corpus_of(tmp_path, "text " * 20, val_fraction=0.5, test_fraction=0.5)
    with pytest.raises(CorpusError, match="lower --val-fraction"):
        corpus_of(tmp_path, "0123456789", val_fraction=0.9)


def test_a_validation_file_leaves_the_corpus_whole_and_shares_its_vocabulary(tmp_path):
    (tmp_path / "val").write_text("new—")
    corpus = corpus_of(tmp_path, "old text", val_file=str(tmp_path / "val"))
    assert corpus.vocabulary.decode(corpus.train) == "old text" and corpus.vocabulary.decode(corpus.val) == "new—"
    (tmp_path / "val").write_text("new-")
    assert corpus_of(tmp_path, "old text", val_file=str(tmp_path / "val")).fingerprint != corpus.fingerprint


@pytest.mark.parametrize("text", ["", "x"])
def test_a_validation_file_too_small_to_validate_on_is_not_passed_over_in_silence(tmp_path, text):
    (tmp_path / "val").write_text(text)
    try:
        notices = corpus_of(tmp_path, "some text", val_file=str(tmp_path / "val")).notices
    except CorpusError:
        return
    assert any("validat" in notice for notice in notices)


@in_tmp_path
@given(
    st.lists(st.text(st.sampled_from("abc"), max_size=6), min_size=2, max_size=40),
    st.floats(0, 0.6),
    st.floats(0, 0.39),
)
def test_lines_are_split_between_lines_and_each_part_begins_with_the_end_of_a_record(tmp_path, lines, val, test):
    text = "".join(f"{line}\n" for line in lines)
    try:
        corpus = corpus_of(tmp_path, text, lines=True, val_fraction=val, test_fraction=test)
    except CorpusError as error:
        if "too few characters" not in str(error):
            raise
        return
    begun = corpus.begin()
    parts = [corpus.vocabulary.decode(part) for part in (begun.train, begun.val, begun.test)]
    assert all(part.startswith("\n") and part.endswith("\n") for part in parts if part)
    assert "".join(part[1:] for part in parts) == text


def test_lines_that_leave_no_line_to_validate_on_are_not_passed_over_in_silence(tmp_path):
    corpus = corpus_of(tmp_path, "first\n" + "x" * 100, lines=True, val_fraction=0.2)
    assert len(corpus.val) or any("validate" in notice for notice in corpus.notices)


def test_lines_without_a_line_feed_are_refused(tmp_path):
    with pytest.raises(CorpusError, match="no line feed"):
        corpus_of(tmp_path, "no end", lines=True)


@in_tmp_path
@given(text=st.text(min_size=2), more=st.text(min_size=1))
def test_an_extended_vocabulary_holds_both_and_the_text_stays_the_same(tmp_path, text, more):
    if len(text.removeprefix("\ufeff")) < 2:
        return
    corpus = corpus_of(tmp_path, text, val_fraction=0.0)
    extended = extend_vocabulary(corpus, vocabulary_of(more))
    assert extended.vocabulary.decode(extended.train) == text.removeprefix("\ufeff")
    assert set(extended.vocabulary.codes) == set(map(ord, text.removeprefix("\ufeff") + more))
    assert (np.diff(extended.vocabulary.codes.astype(int)) > 0).all()
