"""charrnn page: the web page of a model."""

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path("page.html")


def read_model(path=PAGE):
    """The description of the model in a page."""
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="model">(.*?)</script>', text)[1])


def read_title():
    return html.unescape(re.search("<title>(.*?)</title>", PAGE.read_text(encoding="utf-8"))[1])


def test_a_page_has_weights_of_half_or_full_precision(charrnn, trained, tmp_path):
    sizes = []
    for options, kind in (((), "float16"), (("--float32",), "float32")):
        outcome = charrnn("page", "--run", trained, "-o", PAGE, *options)
        assert (outcome.code, outcome.out) == (0, "")
        parameters = sum(np.prod(shape) for _, shape in read_model()["shapes"])
        assert re.fullmatch(rf"saved page.html: 0\.\d MB, {parameters:,} weights as {kind}\n", outcome.err)
        sizes.append(PAGE.stat().st_size)
    assert sizes[1] - sizes[0] == pytest.approx(2 * 4 / 3 * parameters, abs=9)  # in base64
    assert "corpus" in read_title()
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_the_page_of_a_checkpoint_file_names_the_file(charrnn, trained):
    Path("my.safetensors").write_bytes((trained / "best.safetensors").read_bytes())
    assert charrnn("page", "--model", "my.safetensors", "-o", PAGE).code == 0
    assert "corpus" not in read_title()
    assert "my.safetensors" in PAGE.read_text(encoding="utf-8")


def test_the_name_of_a_corpus_is_escaped(charrnn, train):
    name = '<b>&"\u202e{{script}}.txt'
    Path(name).write_text("abcab\n" * 200)
    train(name, "--run", "r", "--max-steps", "2")
    assert charrnn("page", "--run", "r", "-o", PAGE).code == 0
    assert '<b>&"\\u202e{{script}}' in read_title()
    assert "<b>" not in PAGE.read_text(encoding="utf-8")


def test_the_page_of_a_model_of_lines_resets_at_lines(charrnn, train, corpus):
    train(corpus, "--run", "r", "--lines", "--max-steps", "2")
    assert charrnn("page", "--run", "r", "-o", "page.HTM").code == 0
    model = read_model(Path("page.HTM"))
    assert model["recordEnd"] == model["start"] and model["codes"][model["start"]] == 10


def test_a_page_offers_units_if_the_corpus_is_large_enough(charrnn, trained, monkeypatch):
    assert charrnn("page", "--run", trained, "-o", PAGE).code == 0
    assert read_model()["units"] == []
    monkeypatch.setattr("charrnn.cli.page.MIN_SEARCHED_CHARS", 100)
    assert charrnn("page", "--run", trained, "-o", PAGE).code == 0
    units = read_model()["units"]
    assert units and all(unit.keys() == {"probe", "layer", "unit", "correlation"} for unit in units)
    assert all(abs(unit["correlation"]) >= 0.3 for unit in units)


def test_a_page_that_cannot_be_made_is_refused(charrnn, trained, task_directory):
    charrnn("page", "--run", trained, "-o", "page.png").fails(2, "--output page.png", ".html")
    charrnn("page", "--run", trained, "-o", "nowhere/page.html").fails(6, "cannot write nowhere/page.html")
    for task in ("classify", "caption"):
        run = task_directory / "runs" / task
        charrnn("page", "--run", run, "-o", PAGE).fails(2, f"--task {task}", "--task lm")
    assert not PAGE.exists()


def test_the_title_can_be_given_and_inputs_have_the_direction_of_their_text(charrnn, trained):
    assert charrnn("page", "--run", trained, "-o", PAGE, "--title", "Fables & more").code == 0
    assert read_title() == "Fables & more"
    areas = re.findall("<textarea [^>]*>", PAGE.read_text(encoding="utf-8"))
    assert areas and all('dir="auto"' in area for area in areas)
