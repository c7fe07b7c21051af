"""The report of runs and the live page, in a browser without a network connection."""

import re
from pathlib import Path

import pytest

import charrnn
from charrnn.runs.directory import Run
from charrnn.runs.files import append_line, dump_json
from charrnn.web import report
from charrnn.web.page import read_file
from charrnn.web.report import LivePage, Progress, build_report

TEXT = "The Fox said nothing. " * 40
HOSTILE = "</pre></script><script>alert(1)</script><img src=x onerror=alert(1)> {{style}} \u202e & \"'"


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The runs lstm and gru on a text, and kinds of a classifier. Each has four evaluations and samples."""
    folder = tmp_path_factory.mktemp("report")
    text = folder / "text.txt"
    text.write_text(TEXT)
    pairs = [(f"{n:05b}".replace("0", "a").replace("1", "b"), "odd" if n % 2 else "even") for n in range(24)]
    options = {"hidden_size": 4, "workers": 1, "max_steps": 4, "eval_every": 1, "sample_every": 1}
    for cell in ("lstm", "gru"):
        charrnn.train(text, cell=cell, run=folder / cell, **options)
    charrnn.train(data=pairs, task="classify", run=folder / "kinds", **options)
    return folder


@pytest.fixture
def visit(browser, tmp_path):
    """visit(html) opens a page offline. The test fails if it requests anything else, logs a message or raises an
    error."""
    contexts = []
    violations = []

    def open_page(html, *, colour_scheme="light", width=1200, javascript=True):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=colour_scheme,
            offline=True,
            java_script_enabled=javascript,
        )
        contexts.append(context)
        path = tmp_path / "report.html"
        path.write_text(html, encoding="utf-8")
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: violations.append(request.url) if request.url != path.as_uri() else None)
        page.on("console", lambda message: violations.append(message.text))
        page.on("pageerror", lambda error: violations.append(str(error)))
        page.on("dialog", lambda dialog: (violations.append(dialog.message), dialog.dismiss()))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert violations == []


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("names", [["kinds"], ["lstm", "gru"]])
def test_the_page_fits_every_width_and_colour_scheme(visit, folder, names, scheme, width):
    page = visit(build_report([Run(folder / name) for name in names]), colour_scheme=scheme, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator(".plot").first.bounding_box()
    assert box["width"] > 0.6 * min(width, 900)
    for line in page.locator(".plot .curve:visible").all():
        assert line.bounding_box()["width"] > 0.5 * box["width"]
    assert page.locator("text >> visible=true").first.evaluate("e => getComputedStyle(e).fontSize") == "12.8px"


def test_a_chart_is_read_with_the_keyboard_and_the_pointer(visit, folder):
    page = visit(build_report([Run(folder / "lstm"), Run(folder / "gru")]))
    readout = page.locator(".readout").first
    hint = readout.inner_text()
    for _ in range(3):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.plot')"):
            break
    page.keyboard.press("End")
    assert readout.inner_text().startswith("step 4: ")
    for run in charrnn.runs(folder):
        assert (f"{run['val_loss']:.4f}" in readout.inner_text()) == (run["task"] == "lm")
    page.keyboard.press("ArrowLeft")
    assert readout.inner_text().startswith("step 3: ")
    page.keyboard.press("Escape")
    assert readout.inner_text() == hint
    box = page.locator(".plot").first.bounding_box()
    page.mouse.move(box["x"] + 0.49 * box["width"], box["y"] + 10)
    assert readout.inner_text().startswith("step 2: ")


def test_the_horizontal_axis_is_chosen(visit, folder):
    page = visit(build_report([Run(folder / "lstm")]))
    charts = page.locator(".chart:visible")
    assert charts.first.get_attribute("data-x") == "step"
    page.check("#by-seconds")
    assert charts.first.get_attribute("data-x") == "seconds"


def test_the_samples_stand_one_below_the_other_with_their_losses(visit, folder):
    page = visit(build_report([Run(folder / "kinds")]), javascript=False)
    assert page.locator(".samples b").all_inner_texts() == [f"step {n}" for n in (1, 2, 3, 4)]
    tops = [item.bounding_box()["y"] for item in page.locator(".samples li").all()]
    assert tops == sorted(tops)
    assert page.locator(".samples pre").first.inner_text().count(" -> ") == 2  # the two records to validate on
    assert page.locator(".chart:visible").count() == 2  # the loss and the accuracy


def test_several_runs_are_compared_the_best_first(visit, folder):
    runs = [run for run in charrnn.runs(folder) if not run["run"].endswith("kinds")]
    page = visit(build_report([Run(folder / "gru"), Run(folder / "lstm")]))
    rows = page.locator("tbody tr").all_inner_texts()
    assert [row.split(":")[0] for row in rows] == [Path(run["run"]).name for run in runs]
    assert f"{runs[0]['best_val_loss']:.4f}" in rows[0]
    assert page.locator("details[open]").count() == 1


def test_texts_of_a_run_are_never_read_as_html(visit, folder, tmp_path):
    corpus = tmp_path / "<b>x & y.txt"
    corpus.write_text(TEXT)
    charrnn.train(corpus, run=tmp_path / "<i>run", hidden_size=4, workers=1, max_steps=2, eval_every=1)
    run = Run(tmp_path / "<i>run")
    append_line(run.samples, dump_json({"step": 2, "text": HOSTILE}))
    page = visit(build_report([run, Run(folder / "lstm")]))
    assert "<b>x & y.txt" in page.title()
    assert HOSTILE.replace("\u202e", "\\u202e") in page.locator(".samples pre").all_text_contents()
    assert "<i>run" in page.locator("tbody").inner_text()
    assert page.locator("main b, main i, main img").count() == page.locator(".when b").count()


def test_a_live_page_refreshes_itself_and_ends(visit, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "REFRESH_SECONDS", 1)
    page = visit(build_report([Run(folder / "lstm")], Progress(0.25, 90)))
    page.get_by_text("25%, 1:30 min left").wait_for()
    (tmp_path / "report.html").write_text(build_report([Run(folder / "lstm")], Progress(0.5, 60)))
    page.get_by_text("50%, 1:00 min left").wait_for()
    (tmp_path / "report.html").write_text(build_report([Run(folder / "lstm")]))
    page.locator(".status-ended").wait_for()
    assert page.locator("[data-refresh]").count() == 0


def test_the_live_page_is_written_from_the_first_step_to_the_end(tmp_path):
    training = charrnn.start(data=TEXT, run=tmp_path / "run", hidden_size=4, workers=1, max_steps=4, eval_every=2)
    training.trainer.samples_at_evaluations = True
    live = LivePage(training.trainer)
    pages = []
    for event in training:
        live.show(event)
        pages.append(Run(training.run).live.read_text())
    assert "first evaluation is not finished" in pages[0]
    assert "25%" in pages[0]
    assert "data-refresh" in pages[-2]
    assert "data-refresh" not in pages[-1].replace("[data-refresh]", "")
    assert pages[-1].count("<b>step ") == 2


def test_a_run_without_samples_or_evaluations_has_a_report(tmp_path):
    charrnn.train(data=TEXT, run=tmp_path / "run", hidden_size=4, workers=1, max_steps=0)
    html = build_report([Run(tmp_path / "run")])
    assert "kept no samples" in html


def test_the_colours_have_enough_contrast():
    """WCAG AA: 4.5 to 1 for text, 3 to 1 for curves, on the page and on the charts, in both colour schemes."""

    def luminance(colour):
        channels = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    css = read_file("report.css")
    light, dark = (dict(re.findall(r"--([\w]+): (#\w{6});", part)) for part in css.split("@media", 2)[:2])
    for colours in (light, dark):
        for ground in ("page", "surface"):
            for name in ("foreground", "muted", "accent", *(f"c{n}" for n in range(8))):
                bright, dim = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
                assert (bright + 0.05) / (dim + 0.05) >= (3 if name.startswith("c") else 4.5), (name, ground)
