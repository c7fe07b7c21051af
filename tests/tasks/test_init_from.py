"""--init-from: which tasks can start from a model of another one. Each character keeps its own weights."""

import numpy as np
import pytest

from charrnn.errors import UsageError
from charrnn.models.transfer import initial_parameters
from charrnn.nn.parameters import named_views
from charrnn.options import RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.registry import read_task
from charrnn.tasks.tag.coding import TagCoding

DATA = {  # old data, and new data that lack the character `q` and have an additional `z`
    "lm": ("abq cab\nbac q\n" * 9, "az abc\nzab c\n" * 9),
    "lines": ("abq\ncab q\n" * 9, "az\nabc z\n" * 9),
    "classify": ("abq c\tx\ncab\ty\n" * 9, "az c\tx\nzab\ty\n" * 9),
    "tag": ("abq c\t.-..-\ncab\t.-.\n" * 9, "az c\t.-..\nzab\t.-.\n" * 9),
    "translate": ("abq c\tx q\ncab\ty\n" * 9, "az c\tx\nzab\tcz\n" * 9),
    "bytes": ("abq cab\nbac q\n" * 9, "az abc\nzab c\n" * 9),
    "series": ("a,b\n" + "1,2\n2,3\n" * 20, "a,b\n" + "1,2\n2,4\n" * 20),
}
OPTIONS = {
    "lm": {},
    "lines": {"lines": True},
    "bytes": {"bytes": True},
    **{task: {"task": task} for task in ("classify", "tag", "translate", "series")},
}
WITH_CHARACTERS = [name for name in DATA if name not in ("bytes", "series", "translate")]


def config(tmp_path, name, text, **options):
    (tmp_path / "data").write_text(text)
    return RunConfig.from_options([str(tmp_path / "data")], {"hidden_size": 4} | OPTIONS.get(name, {}) | options)


def checkpoint(tmp_path, name, text, **options):
    """A model with its initial parameters."""
    settings = config(tmp_path, name, text, **options)
    task = read_task(settings)
    architecture = task.architecture(settings.model)
    return Checkpoint(architecture, task.metadata(), initial_parameters(architecture, 7))


def start(tmp_path, name, text, source, **options):
    """A task that starts from another model, and its named initial parameters."""
    settings = config(tmp_path, name, text, **options)
    task = read_task(settings, source)
    architecture = task.architecture(settings.model)
    return task, named_views(architecture.specs(), task.initial_parameters(source, architecture, 1))


@pytest.mark.parametrize("name", WITH_CHARACTERS)
@pytest.mark.parametrize("source_name", WITH_CHARACTERS)
def test_the_input_weights_of_every_character_of_the_source_are_copied(source_name, name, tmp_path):
    source = checkpoint(tmp_path, source_name, DATA[source_name][0])
    task, weights = start(tmp_path, name, DATA[name][1], source)
    old_characters = "".join(map(chr, source.task["vocabulary"]))
    new_characters = "".join(map(chr, task.metadata()["vocabulary"]))
    assert "z" not in old_characters
    assert set(old_characters) | set("az") <= set(new_characters)
    for character in old_characters:
        old = source.weights["rnn.weight_ih_l0"][:, old_characters.index(character)]
        new = weights["rnn.weight_ih_l0"][:, new_characters.index(character)]
        np.testing.assert_array_equal(new, old, err_msg=character)


@pytest.mark.parametrize("name", WITH_CHARACTERS)
@pytest.mark.parametrize("source_name", WITH_CHARACTERS)
def test_the_head_is_copied_if_both_tasks_predict_the_same_kind_of_output(source_name, name, tmp_path):
    source = checkpoint(tmp_path, source_name, DATA[source_name][0])
    _, weights = start(tmp_path, name, DATA[name][1], source)
    is_same_kind = source_name == name or {source_name, name} <= {"lm", "lines"}
    rows = {row.tobytes() for row in weights["head.weight"]}
    is_copied = [row.tobytes() in rows for row in source.weights["head.weight"]]
    assert all(is_copied) if is_same_kind else not any(is_copied)


@pytest.mark.parametrize("delay", [None, 1])
def test_the_n_gram_weights_of_a_tagger_stay_with_their_tags(delay, tmp_path):
    source = checkpoint(tmp_path, "tag", DATA["tag"][0])
    old = source.weights["ngrams.weight"]
    old[1:] = np.arange(1, old[1:].size + 1).reshape(-1, 2)
    options = {} if delay is None else {"delay": delay}
    task, weights = start(tmp_path, "tag", "az c\t.-.!\nzab\t.-.\n" * 9, source, **options)
    new = weights["ngrams.weight"]
    assert task.coding.tags == "!-."
    assert task.coding.ngrams.texts == source.parse_task(TagCoding.from_dict).ngrams.texts
    if delay is None:
        np.testing.assert_array_equal(new, np.insert(old, 0, 0, axis=1))  # the tag ! is new
    else:  # a smaller lookahead has other features
        assert not new.any() and len(new) < len(old)


def test_a_series_keeps_the_scales_of_the_source(tmp_path):
    source = checkpoint(tmp_path, "series", DATA["series"][0])
    task, weights = start(tmp_path, "series", DATA["series"][1], source)
    assert task.metadata() == source.task
    for name, values in source.weights.items():
        np.testing.assert_array_equal(weights[name], values, err_msg=name)


def test_a_series_keeps_the_columns_of_the_source(tmp_path):
    text = "n,a,b\n" + "".join(f"{n},{n % 3},{n % 5}\n" for n in range(20))
    source = checkpoint(tmp_path, "series", text, columns="n,a,b", target=["b"], missing="mean")
    task, _ = start(
        tmp_path, "series", "b,more,a,n\n" + "".join(f"{n % 5},x,{n or ''},{n}\n" for n in range(20)), source
    )
    assert task.metadata() == source.task


def test_a_series_keeps_the_labels_of_the_source_and_adds_new_ones(tmp_path):
    source = checkpoint(tmp_path, "series", "a,b\n" + "1,x\n2,z\n" * 20, target=["b"])
    task, weights = start(tmp_path, "series", "a,b\n" + "1,y\n2,x\n" * 20, source, target=["b"])
    assert task.columns.labels == ("x", "y", "z")
    assert task.training_records.loss_mask.all()
    np.testing.assert_array_equal(weights["head.weight"][[0, 2]], source.weights["head.weight"])


@pytest.mark.parametrize(
    ("source_text", "text"),
    [
        ("a,b\n1,2\n2,3\n", "a,c\n1,2\n2,3\n"),
        ("a,b\n1,2\n2,3\n", "a,b\n1,x\n2,y\n"),
        ("a,b\n1,x\n2,y\n", "a,b\n1,2\n2,3\n"),
    ],
)
def test_a_series_with_other_columns_is_refused(source_text, text, tmp_path):
    source = checkpoint(tmp_path, "series", source_text, target=["b"])
    with pytest.raises(UsageError, match="other columns"):
        start(tmp_path, "series", text, source, target=[text[2]])


@pytest.mark.parametrize(
    ("source_name", "name", "message"),
    [
        *[("series", name, "a model of --task series has no vocabulary") for name in (*WITH_CHARACTERS, "bytes")],
        *[("translate", name, "a model of --task translate has no vocabulary") for name in (*WITH_CHARACTERS, "bytes")],
        *[(name, "translate", "--task translate") for name in (*WITH_CHARACTERS, "bytes", "series")],
        *[("bytes", name, "one of the two models has a vocabulary of bytes") for name in WITH_CHARACTERS],
        *[(name, "bytes", "one of the two models has a vocabulary of bytes") for name in WITH_CHARACTERS],
        *[(name, "series", "other columns") for name in (*WITH_CHARACTERS, "bytes")],
    ],
)
def test_a_model_with_another_kind_of_input_is_refused(source_name, name, message, tmp_path):
    source = checkpoint(tmp_path, source_name, DATA[source_name][0])
    with pytest.raises(UsageError, match=message):
        start(tmp_path, name, DATA[name][1], source)
