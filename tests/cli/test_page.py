"""charrnn page: what it writes, what it says, what it refuses."""

import html
import json
import re

import numpy as np
import pytest


def embedded(path):
    """What a page says of its model."""
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="model">(.*?)</script>', text)[1])


def test_a_run_becomes_a_page_of_half_or_full_precision(charrnn, trained, tmp_path):
    path = tmp_path / "page.html"
    sizes = []
    for options, kind in (((), "float16"), (("--float32",), "float32")):
        result = charrnn("page", "--run", trained, "-o", path, *options)
        said = rf"wrote {re.escape(str(path))}: 0\.\d MB, ([\d,]+) weights as {kind}\n"
        assert (result.code, result.out) == (0, "") and re.fullmatch(said, result.err)
        sizes.append(path.stat().st_size)
        parameters = sum(np.prod(shape) for _, shape in embedded(path)["shapes"])
        assert re.fullmatch(said, result.err)[1] == f"{parameters:,}"
    assert sizes[1] - sizes[0] == pytest.approx(2 * 4 / 3 * parameters, abs=9)  # in base64
    text = html.unescape(path.read_text(encoding="utf-8"))
    assert "<title>A neural network that learnt to write by reading “corpus”</title>" in text
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_a_checkpoint_file_has_no_corpus_to_name(charrnn, trained, tmp_path):
    (tmp_path / "my.safetensors").write_bytes((trained / "best.safetensors").read_bytes())
    assert charrnn("page", "--model", "my.safetensors", "-o", "page.html").code == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<title>A neural network that writes</title>" in text and "my.safetensors" in text


def test_a_hostile_name_stays_text(charrnn, train, tmp_path):
    name = '<b>&"\u202e{{script}}.txt'
    (tmp_path / name).write_text("abcab\n" * 200)
    train(name, "--run", "r", "--max-steps", "2")
    assert charrnn("page", "--run", "r", "-o", "page.html").code == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "reading “&lt;b&gt;&amp;&quot;\\u202e{{script}}”</title>" in text


def test_lines_are_said_to_be_lines(charrnn, train, corpus):
    train(corpus, "--run", "r", "--lines", "--max-steps", "2")
    assert charrnn("page", "--run", "r", "-o", "page.HTM").code == 0
    values = embedded(corpus.absolute().with_name("page.HTM"))
    assert values["lines"] and values["codes"][values["start"]] == 10


def test_a_page_offers_units_that_go_with_something(charrnn, trained, train, tmp_path, monkeypatch):
    """Found on the run's own text; without it, or with too little of it, there are none."""
    assert charrnn("page", "--run", trained, "-o", "page.html").code == 0
    assert embedded(tmp_path / "page.html")["units"] == []
    monkeypatch.setattr("charrnn.cli.page.ENOUGH", 100)
    assert charrnn("page", "--run", trained, "-o", "page.html").code == 0
    units = embedded(tmp_path / "page.html")["units"]
    assert units and all(unit.keys() == {"probe", "layer", "unit", "correlation"} for unit in units)
    assert all(abs(unit["correlation"]) >= 0.3 for unit in units)


def test_what_is_no_page_is_refused(charrnn, trained, train, tmp_path):
    charrnn("page", "--run", trained, "-o", "page.png").fails(2, "--output page.png: must end in .html")
    result = charrnn("page", "--run", trained, "-o", "nowhere/page.html")
    assert result.code == 6 and "cannot write nowhere/page.html" in result.err
    (tmp_path / "k.tsv").write_text("abc\tx\ncba\ty\n" * 90)
    train("k.tsv", "--task", "classify", "--run", "k", "--max-steps", "1")
    result = charrnn("page", "--run", "k", "-o", "page.html")
    assert result.code == 2 and "a model of --task classify" in result.err
    (tmp_path / "lines.txt").write_text("abc\ncba\n" * 90)
    np.save(tmp_path / "f.npy", np.random.default_rng(0).random((180, 2)))
    train("lines.txt", "--features", "f.npy", "--run", "f", "--max-steps", "1")
    result = charrnn("page", "--run", "f", "-o", "page.html")
    assert result.code == 2 and "writes from vectors" in result.err
    assert not (tmp_path / "page.html").exists()
