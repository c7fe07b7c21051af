"""Random corpora, options and checkpoints: each command ends with a documented exit code and at most one error line."""

import io
import os
import random
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.cli.app import main
from charrnn.options import CELLS, OPTIMIZERS, SCHEDULES

DEADLINE = 20_000  # milliseconds for each example
FAST = settings(max_examples=25, deadline=DEADLINE, suppress_health_check=[HealthCheck.function_scoped_fixture])
SLOW = settings(FAST, max_examples=500)
TINY = ["--hidden-size", "4", "--max-steps", "3", "--workers", "1"]


class MemoryStream(io.TextIOWrapper):
    """A text stream over bytes, like the standard streams."""

    def __init__(self):
        super().__init__(io.BytesIO(), encoding="utf-8")

    def text(self):
        self.flush()
        return self.buffer.getvalue().decode("utf-8", "replace")  # a model of bytes writes any bytes


def run(*arguments):
    """Exit code, stdout and stderr of a command, which must end as documented."""
    out = MemoryStream()
    err = MemoryStream()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = exit_.code
    error_lines = [line for line in err.text().splitlines() if line.startswith("charrnn: error: ")]
    assert code in (0, 2, 3, 4, 5, 6), (arguments, code)
    assert len(error_lines) == (code != 0), (arguments, err.text())
    return code, out.text(), err.text()


def enter_new_directory(folder):
    os.chdir(tempfile.mkdtemp(dir=folder))


def check_train_sample_eval(folder, data, options, prime):
    enter_new_directory(folder)
    Path("corpus").write_bytes(data)
    code, _, _ = run("train", "corpus", "--run", "r", *TINY, *options)
    if code:
        assert code in (2, 3)
        return
    code, out, _ = run("sample", "--run", "r", "-n", "20", "--seed", "1", "--prime", prime, "--hide-prime")
    assert code in (0, 3)
    if code == 0 and "--bytes" not in options:
        assert len(out) == 21 or ("--lines" in options and len(out) < 21)  # a sample of a model of lines is one line
    run("sample", "--run", "r", "-n", "20", "--prime", prime, "--on-unknown", "skip", "--json")
    assert run("eval", "corpus", "--run", "r", "--json")[0] == 0
    assert run("info", "r", "--json")[0] == 0
    assert run("runs", ".", "--csv")[0] == 0


CORPORA = st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass")))
READING = st.sampled_from([[], ["--bytes"], ["--lines"], ["--val-fraction", "0.4", "--test-fraction", "0.3"]])
PRIMES = st.text(st.characters(exclude_characters="\0"), max_size=10)


@FAST
@given(data=CORPORA, options=READING, prime=PRIMES)
def test_any_corpus_and_any_prime_are_accepted_or_refused(data, options, prime, tmp_path):
    check_train_sample_eval(tmp_path, data, options, prime)


@pytest.mark.slow
@SLOW
@given(data=CORPORA, options=READING, prime=PRIMES)
def test_many_corpora_and_primes_are_accepted_or_refused(data, options, prime, tmp_path):
    check_train_sample_eval(tmp_path, data, options, prime)


NUMBERS = st.one_of(
    st.integers(-2, 40), st.floats(-1, 2), st.sampled_from(["nan", "inf", "1e999", "", "x", "-0", "1_0"])
)
NAMES = st.sampled_from([*CELLS, *OPTIMIZERS, *SCHEDULES, "utf-8", "latin-1", "none", ""])
NUMERIC = [
    "hidden-size",
    "num-layers",
    "embedding-size",
    "dropout",
    "val-fraction",
    "test-fraction",
    "batch-size",
    "seq-length",
    "learning-rate",
    "lr",
    "warmup-steps",
    "weight-decay",
    "clip-norm",
    "clip-value",
    "max-epochs",
    "patience",
    "seed",
    "eval-every",
    "save-every",
    "sample-every",
]
OPTION = st.one_of(
    st.tuples(st.sampled_from(NUMERIC), NUMBERS),
    st.tuples(st.sampled_from(["cell", "optimizer", "schedule", "encoding"]), NAMES),
    st.tuples(st.sampled_from(["bytes", "lines", "json", "quiet"])),
)


def check_options(folder, options):
    enter_new_directory(folder)
    Path("corpus").write_text("the quick brown fox\njumps over the lazy dog\n" * 4)
    arguments = [argument for name, *value in options for argument in (f"--{name}", *map(str, value))]
    run("train", "corpus", "--run", "r", *TINY, *arguments)


@FAST
@given(options=st.lists(OPTION, max_size=5))
def test_any_options_are_accepted_or_refused(options, tmp_path):
    check_options(tmp_path, options)


@pytest.mark.slow
@SLOW
@given(options=st.lists(OPTION, max_size=5))
def test_many_combinations_of_options_are_accepted_or_refused(options, tmp_path):
    check_options(tmp_path, options)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    (folder / "corpus").write_text("the quick brown fox jumps over the lazy dog\n" * 4)
    run("train", folder / "corpus", "--run", folder / "r", *TINY)
    return (folder / "r" / "last.safetensors").read_bytes()


def mutate(data, rng):
    """One to three random faults: a flipped bit, random, missing or repeated bytes, truncation, a wrong header size."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        in_header = rng.random() < 0.5
        place = rng.randrange(min(len(data), 3000) if in_header else len(data))
        size = rng.randint(1, 40)
        fault = rng.randrange(6)
        if fault == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif fault == 1:
            data[place : place + size] = rng.randbytes(len(data[place : place + size]))
        elif fault == 2:
            del data[place : place + size]
        elif fault == 3:
            data[place:place] = data[place : place + size]
        elif fault == 4:
            del data[max(1, place) :]
        else:
            data[:8] = rng.choice([2**63, 2**40, 99, len(data), 0]).to_bytes(8, "little")
    return bytes(data)


def count_refused_mutations(folder, checkpoint, count):
    """Samples from mutated checkpoints. Each one is refused, or the text is that of the original checkpoint."""
    rng = random.Random(1)
    path = Path(folder) / "mutated.safetensors"
    path.write_bytes(checkpoint)
    sample = ("sample", "--model", path, "-n", "10", "--seed", "1")
    _, original_text, _ = run(*sample)
    refused = 0
    for _ in range(count):
        path.write_bytes(mutate(checkpoint, rng))
        code, text, _ = run(*sample)
        assert code == 4 or (code, text) == (0, original_text)
        refused += code == 4
    return refused


def test_a_mutated_checkpoint_is_refused_or_means_the_same(checkpoint, tmp_path):
    assert count_refused_mutations(tmp_path, checkpoint, 150) > 120


@pytest.mark.slow
def test_three_thousand_mutated_checkpoints_are_refused_or_mean_the_same(checkpoint, tmp_path):
    refused = count_refused_mutations(tmp_path, checkpoint, 3000)
    print(f"{refused} of 3000 were refused, the others meant the same")
    assert refused > 2400
