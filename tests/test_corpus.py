"""From text to batches: vocabulary, splits, fitting, and the streams that read a text round and round."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from charrnn import reading
from charrnn.budget import Budget
from charrnn.config import TextConfig, TrainConfig
from charrnn.corpus import BatchStream, Vocabulary, extend_vocabulary, fit_batch, load_corpus
from charrnn.errors import CorpusError, UsageError

in_tmp_path = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
quick = settings(max_examples=150, deadline=None)
any_text = st.text(st.characters(exclude_categories=()), min_size=1)


def corpus_of(tmp_path, text, **config):
    path = tmp_path / "corpus.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_corpus([str(path)], TextConfig(**config))


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


@quick
@given(any_text)
def test_any_text_survives_encoding_and_decoding(text):
    vocabulary = vocabulary_of(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text


@quick
@given(st.binary(min_size=1))
def test_any_bytes_survive_conversion_to_ids(data):
    vocabulary = vocabulary_of(data, is_bytes=True)
    ids = vocabulary.codes_to_ids(np.frombuffer(data, np.uint8))
    assert vocabulary.codes[ids].astype(np.uint8).tobytes() == data
    assert vocabulary.decode(ids) == data.decode("utf-8", "replace")


@quick
@given(st.text(min_size=1))
def test_a_byte_vocabulary_encodes_text_as_utf_8(text):
    vocabulary = vocabulary_of(bytes(range(256)), is_bytes=True)
    assert vocabulary.encode(text).tolist() == list(text.encode())
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_text_that_utf_8_cannot_hold_is_a_corpus_error_for_a_byte_vocabulary():
    with pytest.raises(CorpusError):
        vocabulary_of(bytes(range(256)), is_bytes=True).encode("a\ud800")


@pytest.mark.parametrize("unknown", ["ß", "—", "😀", "\n", "a"])
def test_an_unknown_character_is_named_with_code_point_and_position(unknown):
    with pytest.raises(CorpusError) as caught:
        vocabulary_of("xyz").encode(f"xyz{unknown}x")
    assert f"U+{ord(unknown):04X}" in str(caught.value) and "position 3" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1 and str(caught.value).isprintable()


def test_an_unknown_byte_is_named():
    with pytest.raises(CorpusError, match="byte 0xff at position 1"):
        vocabulary_of(b"a", is_bytes=True).codes_to_ids(np.array([97, 255], np.uint8))


@quick
@given(known=any_text, text=any_text)
def test_skipping_drops_the_unknown_characters_and_no_others(known, text):
    ids = vocabulary_of(known).encode(text, skip_unknown=True)
    assert vocabulary_of(known).decode(ids) == "".join(c for c in text if c in known)


@pytest.mark.parametrize("others", ["b", "—", "😀"])
def test_codes_of_a_narrow_type_are_converted_by_a_wide_vocabulary(others):
    """Text comes in chunks of the smallest type that holds each: the first may be ASCII, the next not."""
    assert vocabulary_of("a" + others).codes_to_ids(np.array([97, 97], np.uint8)).tolist() == [0, 0]


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
        load_corpus([str(tmp_path / name) for name in names], TextConfig(val_fraction=0.0))
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
    parts = [corpus.vocabulary.decode(part) for part in (corpus.train, corpus.val, corpus.test)]
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


@settings(max_examples=500, deadline=None)
@given(st.integers(1, 3000), st.none() | st.integers(1, 300), st.none() | st.integers(1, 300))
@example(pairs=50, batch_size=4, seq_length=100)
def test_a_batch_fits_or_the_named_largest_does(pairs, batch_size, seq_length):
    try:
        fitted = fit_batch(pairs, batch_size, seq_length)
    except UsageError as error:
        option, largest = re.match(r"--(\S+) .*largest that fits is (\d+)", str(error)).groups()
        sizes = {"batch-size": batch_size, "seq-length": seq_length}
        if any(size and size > pairs for name, size in sizes.items() if name != option):
            sizes = {option: sizes[option]}  # the other one alone is too large: no value of this one fits beside it
        smaller, larger = (sizes | {option: int(largest) + more} for more in (0, 1))
        fit_batch(pairs, smaller.get("batch-size"), smaller.get("seq-length"))
        if len(sizes) == 2:
            with pytest.raises(UsageError):
                fit_batch(pairs, larger["batch-size"], larger["seq-length"])
        return
    assert fitted[0] * fitted[1] <= pairs
    assert all(asked in (None, size) for asked, size in zip((batch_size, seq_length), fitted, strict=True))


def streams(max_pairs=120):
    """(pairs, B, T) that fit."""
    return st.integers(1, max_pairs).flatmap(
        lambda pairs: st.integers(1, pairs).flatmap(
            lambda b: st.tuples(st.just(pairs), st.just(b), st.integers(1, pairs // b))
        )
    )


@quick
@given(streams())
def test_every_pair_is_seen_in_the_steps_of_an_epoch(shape):
    pairs, b, t = shape
    stream = BatchStream(np.arange(pairs + 1), b, t)
    steps = Budget.of(TrainConfig(max_epochs=1.0), b * t, stream.pairs).steps
    seen = set()
    for step in range(steps):
        x, y, _ = stream.batch(step)
        assert x.shape == y.shape == (t, b)
        assert (y == x + 1).all()
        seen |= set(x.ravel().tolist())
    assert seen == set(range(pairs))


@quick
@given(streams(), st.integers(0, 50))
def test_every_stream_goes_on_where_it_was(shape, step):
    pairs, b, t = shape
    stream = BatchStream(np.arange(pairs + 1), b, t)
    places = np.concatenate([stream.batch(step)[0], stream.batch(step + 1)[0]]).astype(int)
    assert ((np.diff(places, axis=0) % pairs) == 1 % pairs).all()


@quick
@given(streams(60), st.integers(0, 50), st.sets(st.integers(0, 60)))
def test_keep_is_false_exactly_where_the_text_or_a_record_begins(shape, step, ends):
    pairs, b, t = shape
    ids = np.arange(pairs + 1) * 2  # even: a place of its own; odd: the end of a record
    record_end = 1
    marked = np.array([record_end if place in ends else i for place, i in enumerate(ids.tolist())])
    places = BatchStream(ids, b, t).batch(step)[0] // 2
    for text, expected in ((ids, places != 0), (marked, (places != 0) & ~np.isin(places, list(ends)))):
        keep = BatchStream(text, b, t, record_end).batch(step)[2]
        if keep is None:
            expected = expected[1:] if step == 0 else expected  # all states are zero before the first step
            assert expected.all()
        else:
            assert keep.shape == (t, b, 1)
            assert (keep[:, :, 0] == expected).all()
    assert BatchStream(marked, b, t).batch(step)[2] is None or record_end in marked or (places == 0).any()
