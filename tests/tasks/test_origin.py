"""A run of any task begins with a model of any other: what both read is taken over, character for character."""

import numpy as np
import pytest

from charrnn.errors import UsageError
from charrnn.options import RunConfig
from charrnn.runs.checkpoint import load_checkpoint
from charrnn.tasks.registry import read_task
from charrnn.tasks.tag.model import Tags
from charrnn.training.start import new_run

FILES = {  # a model to begin with, and data that lack its `q` and know a `z` that it does not
    "lm": ("abq cab\nbac q\n" * 9, "az abc\nzab c\n" * 9),
    "lines": ("abq\ncab q\n" * 9, "az\nabc z\n" * 9),
    "captions": ("abq\ncab q\n" * 9, "az\nabc z\n" * 9),
    "classify": ("abq c\tx\ncab\ty\n" * 9, "az c\tx\nzab\ty\n" * 9),
    "tag": ("abq c\t.-..-\ncab\t.-.\n" * 9, "az c\t.-..\nzab\t.-.\n" * 9),
    "translate": ("abq c\tx q\ncab\ty\n" * 9, "az c\tx\nzab\tcz\n" * 9),
    "bytes": ("abq cab\nbac q\n" * 9, "az abc\nzab c\n" * 9),
    "series": ("a,b\n" + "1,2\n2,3\n" * 20, "a,b\n" + "1,2\n2,4\n" * 20),
}
OPTIONS = {
    "lines": {"lines": True},
    "bytes": {"bytes": True},
    **{task: {"task": task} for task in ("classify", "tag", "translate", "series")},
}
SMALL = {"hidden_size": 4, "batch_size": 2, "seq_length": 8, "workers": 1, "max_steps": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of every kind a run, and new data."""
    folder = tmp_path_factory.mktemp("origin")
    np.savetxt(folder / "vectors.csv", np.arange(18), delimiter=",")
    for name, texts in FILES.items():
        for file, text in zip(("old", "new"), texts, strict=True):
            (folder / f"{name}.{file}").write_text(text)
        for _ in new_run(folder / name, config_of(folder, name, "old")).run():
            pass
    return folder


def config_of(folder, name, file):
    own = {"features": str(folder / "vectors.csv")} if name == "captions" else OPTIONS.get(name, {})
    return RunConfig.from_options([str(folder / f"{name}.{file}")], own | SMALL)


TEXTS = [name for name in FILES if name not in ("bytes", "series")]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("first", TEXTS)
def test_a_character_s_weights_go_with_it(first, name, folder):
    start = load_checkpoint(folder / first / "last.safetensors")
    config = config_of(folder, name, "new")
    task = read_task(config, start)
    weights = task.initial_weights(start, task.architecture(config.model), 1)
    before, after = ("".join(map(chr, words["vocabulary"])) for words in (start.task, task.metadata()))
    assert set(before) | set("az") <= set(after) and "z" not in before
    for character in before:
        old, new = (
            of["rnn.weight_ih_l0"][:, known.index(character)]
            for of, known in ((start.weights, before), (weights, after))
        )
        np.testing.assert_array_equal(new, old, err_msg=character)


def test_a_tagger_s_strings_keep_their_say_in_each_tag(folder):
    (folder / "more.new").write_text("az c\t.-.!\nzab\t.-.\n" * 9)
    start = load_checkpoint(folder / "tag" / "last.safetensors")
    said = start.weights["direct.weight"]
    said[1:] = np.arange(1, said[1:].size + 1).reshape(-1, 2)
    for delay in (None, 1):
        config = RunConfig.from_options([str(folder / "more.new")], SMALL | {"task": "tag", "delay": delay})
        task = read_task(config, start)
        weights = task.initial_weights(start, task.architecture(config.model), 1)["direct.weight"]
        assert (task.coding.tags, task.coding.strings.texts) == ("!-.", start.read_task(Tags.from_dict).strings.texts)
        if delay is None:
            np.testing.assert_array_equal(weights, np.insert(said, 0, 0, axis=1))
        else:  # fewer places behind a character: other features
            assert not weights.any() and len(weights) < len(said)


@pytest.mark.parametrize(
    ("first", "name", "message"),
    [
        *[("series", name, "a model of --task series, which reads no characters") for name in (*TEXTS, "bytes")],
        *[("bytes", name, "one of the two has bytes") for name in TEXTS],
        *[(name, "bytes", "one of the two has bytes") for name in TEXTS],
        *[(name, "series", "a model of other columns") for name in (*TEXTS, "bytes")],
    ],
)
def test_what_reads_something_else_is_refused(first, name, message, folder):
    with pytest.raises(UsageError, match=message):
        read_task(config_of(folder, name, "new"), load_checkpoint(folder / first / "last.safetensors"))
