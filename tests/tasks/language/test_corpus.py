"""From files to the parts of a text: vocabulary, splits and notices."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from charrnn.corpus import reading
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import CorpusError
from charrnn.options import DataOptions
from charrnn.tasks.language.corpus import load_corpus

PARTS = ("train", "val", "test")
in_tmp_path = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def load(tmp_path, text, **options):
    path = tmp_path / "corpus.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_corpus([str(path)], DataOptions(**options))


def decode(corpus, part):
    """The text of a part. Every part that is not empty begins with the start symbol."""
    ids = getattr(corpus, part)
    assert ids[:1].tolist() in ([], [corpus.vocabulary.start])
    return corpus.vocabulary.decode(ids[1:])


def test_the_vocabulary_has_the_characters_of_the_text_in_code_point_order(tmp_path):
    corpus = load(tmp_path, "zebra—über\n😀\0zz", val_fraction=0.0)
    assert "".join(map(chr, corpus.vocabulary.codes)) == "\0\naberzü—😀"
    assert corpus.train[1:6].tolist() == [6, 4, 3, 5, 2]


def test_with_the_option_bytes_the_vocabulary_has_the_byte_values_of_the_text(tmp_path):
    corpus = load(tmp_path, b"\xff\x00b\xffa", bytes=True, val_fraction=0.0)
    assert corpus.vocabulary.codes.tolist() == [0, 0x61, 0x62, 0xFF]
    assert corpus.train[1:].tolist() == [3, 0, 2, 3, 1]


@in_tmp_path
@given(text=st.text(st.sampled_from("ab\nß—😀"), min_size=3), chunk=st.integers(1, 5))
@example(text="aaaa—", chunk=4)
def test_a_corpus_does_not_depend_on_the_chunk_size(tmp_path, text, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHUNK_SIZE", chunk)
        corpus = load(tmp_path, text, val_fraction=0.0)
    assert decode(corpus, "train") == text


def load_files(tmp_path, *texts, **options):
    paths = [tmp_path / f"{number}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, newline="")
    return load_corpus(list(map(str, paths)), DataOptions(**options))


@pytest.mark.parametrize("options", [{}, {"lines": True}, {"bytes": True}], ids=str)
def test_a_file_without_a_line_feed_at_its_end_gets_one_if_another_file_follows(tmp_path, options):
    corpus = load_files(tmp_path, "one", "two\n", "", "three", val_fraction=0.0, **options)
    assert decode(corpus, "train") == "one\ntwo\nthree"
    assert corpus.train_starts.tolist() == [4, 8]
    assert [notice for notice in corpus.notices if "no line feed at the end" in notice] == [
        f"{tmp_path / '0.txt'}: no line feed at the end; one is added before the next file"
    ]


def test_the_fingerprint_depends_on_the_text_and_on_the_file_boundaries(tmp_path):
    fingerprints = {
        load_files(tmp_path, *texts, val_fraction=0.0).fingerprint
        for texts in (["one\n", "two"], ["one\ntwo"], ["one\n", "twe"])
    }
    assert len(fingerprints) == 3
    assert load_files(tmp_path, "one", "two", val_fraction=0.0).fingerprint in fingerprints


@in_tmp_path
@given(
    st.lists(st.text("ab\n", min_size=1, max_size=20), min_size=2, max_size=6), st.floats(0, 0.6), st.floats(0, 0.39)
)
def test_file_starts_follow_a_line_feed_in_each_part(tmp_path, texts, val, test):
    try:
        corpus = load_files(tmp_path, *texts, val_fraction=val, test_fraction=test)
    except CorpusError:
        return
    parts = [(corpus.train, corpus.train_starts), (corpus.val, corpus.val_starts), (corpus.test, corpus.test_starts)]
    assert all(part[place] == corpus.vocabulary.newline for part, starts in parts for place in starts)
    num_at_part_starts = sum(len(part) > 0 for part, _ in parts) - 1
    num_starts = sum(len(starts) for _, starts in parts)
    assert len(texts) - 1 - num_at_part_starts <= num_starts <= len(texts) - 1


@pytest.mark.parametrize(
    ("size", "dtype"), [(2, np.uint8), (256, np.uint8), (257, np.uint16), (65536, np.uint16), (65537, np.uint32)]
)
def test_ids_have_the_smallest_type_that_holds_the_vocabulary(tmp_path, size, dtype):
    text = "".join(map(chr, [code for code in range(size + 0x800) if not 0xD800 <= code < 0xE000][:size]))
    corpus = load(tmp_path, text, val_fraction=0.3, newline="keep", normalize="none")
    assert len(corpus.vocabulary) == size
    assert corpus.train.dtype == corpus.val.dtype == dtype
    assert decode(corpus, "train") + decode(corpus, "val") == text


@in_tmp_path
@given(size=st.integers(2, 400), val=st.floats(0, 0.6), test=st.floats(0, 0.39))
def test_parts_are_contiguous_and_have_the_requested_sizes(tmp_path, size, val, test):
    text = "".join(chr(0x4E00 + n) for n in range(size))
    try:
        corpus = load(tmp_path, text, val_fraction=val, test_fraction=test)
    except CorpusError:
        if size * (1 - val - test) >= 3:
            raise
        return
    train_text, val_text, test_text = (decode(corpus, part) for part in PARTS)
    assert train_text + val_text + test_text == text
    for part_text, fraction, purpose in ((val_text, val, "validate"), (test_text, test, "test")):
        assert len(part_text) != 1
        if part_text:
            assert abs(len(part_text) - size * fraction) <= 1 + 1e-6
        else:
            assert not fraction or any(f"too few to {purpose}" in notice for notice in corpus.notices)


def test_a_notice_says_that_a_short_text_is_only_used_to_train(tmp_path):
    corpus = load(tmp_path, "hello")
    assert decode(corpus, "train") == "hello" and len(corpus.val) == 0
    assert "5 characters are too few to validate on" in corpus.notices[0]


@pytest.mark.parametrize(
    ("text", "message"), [("", "empty"), ("\ufeff", "empty"), ("x", "the corpus has one character")]
)
def test_a_corpus_of_fewer_than_two_characters_is_refused(tmp_path, text, message):
    with pytest.raises(CorpusError, match=message):
        load(tmp_path, text)


def test_fractions_that_leave_nothing_to_train_on_are_refused(tmp_path):
    with pytest.raises(CorpusError, match="lower --val-fraction"):
        load(tmp_path, "0123456789", val_fraction=0.9)


def test_with_a_validation_file_the_whole_corpus_is_used_to_train(tmp_path):
    (tmp_path / "val").write_text("new—")
    corpus = load(tmp_path, "old text", val_file=str(tmp_path / "val"))
    assert (decode(corpus, "train"), decode(corpus, "val")) == ("old text", "new—")
    (tmp_path / "val").write_text("new-")
    assert load(tmp_path, "old text", val_file=str(tmp_path / "val")).fingerprint != corpus.fingerprint


@pytest.mark.parametrize("text", ["", "x"])
def test_a_validation_file_of_fewer_than_two_characters_is_refused(tmp_path, text):
    (tmp_path / "val").write_text(text)
    with pytest.raises(CorpusError, match="val: too few characters to validate on"):
        load(tmp_path, "some text", val_file=str(tmp_path / "val"))


@in_tmp_path
@given(
    st.lists(st.text(st.sampled_from("abc"), max_size=6), min_size=2, max_size=40),
    st.floats(0, 0.6),
    st.floats(0, 0.39),
)
def test_a_text_of_lines_is_split_between_lines(tmp_path, lines, val, test):
    text = "".join(f"{line}\n" for line in lines)
    try:
        corpus = load(tmp_path, text, lines=True, val_fraction=val, test_fraction=test)
    except CorpusError as error:
        if "too few characters" not in str(error):
            raise
        return
    assert corpus.record_end == corpus.vocabulary.newline
    parts = [decode(corpus, part) for part in PARTS]
    assert all(part.endswith("\n") for part in parts if part)
    assert "".join(parts) == text


def test_a_notice_says_that_no_whole_line_is_left_to_validate_on(tmp_path):
    corpus = load(tmp_path, "first\n" + "x" * 100, lines=True, val_fraction=0.2)
    assert len(corpus.val) == 0
    assert "no whole line is left to validate on" in corpus.notices


def test_the_option_lines_needs_a_line_feed(tmp_path):
    with pytest.raises(CorpusError, match="no line feed"):
        load(tmp_path, "no end", lines=True)


@in_tmp_path
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=2), more=st.text(min_size=1))
def test_a_larger_vocabulary_does_not_change_the_text(tmp_path, text, more):
    assume(len(text.removeprefix("\ufeff")) > 1)
    corpus = load(tmp_path, text, val_fraction=0.0, normalize="none")
    larger = corpus.with_vocabulary_of(Vocabulary.of_texts([more]))
    assert decode(larger, "train") == text.removeprefix("\ufeff")
    assert set(larger.vocabulary.codes) == set(map(ord, text.removeprefix("\ufeff") + more))
    assert (np.diff(larger.vocabulary.codes.astype(int)) > 0).all()
    assert larger.fingerprint == corpus.fingerprint
