"""The page of a model: its engine against NumPy, and the page itself in a browser that has no network."""

import re
import shutil

import numpy as np
import pytest

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import UsageError
from charrnn.models.architecture import Architecture
from charrnn.models.network import new_stepper
from charrnn.models.sampling import choose
from charrnn.nn.parameters import count, views
from charrnn.nn.stack import CELLS
from charrnn.options import SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.language.model import TextModel
from charrnn.web.page import page

LETTERS = "\n abcdefghijklmnopqrstuvwxyz.,;!?ABCDEFGHIJKLMNOPQRSTUVWXYZé語🙂"
TEXT = "Éine köpek,\nthe end. 語🙂!"
HOSTILE = (
    "</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> \" ' & {{script}} \u2028 \u202e \0 \u200f"
)
CONTROLS = ("#mode", "#prime", "#write", "#stop", "#copy", "#paper", "#colour", "#next", "#temperature", "#speed")
EVERY = "Array.from(document.querySelectorAll('#paper span'), (span) => span.textContent)"


def text_model(cell="lstm", symbols=LETTERS, is_bytes=False, lines=False, codes=(), **shape):
    """A model with random weights: large enough that its next characters are far from equally likely, W_hh so small
    that a rounding error dies away."""
    codes = codes or (set(symbols.encode()) if is_bytes else set(map(ord, symbols)))
    vocabulary = Vocabulary(np.array(sorted(codes), np.uint32), is_bytes)
    size = len(vocabulary)
    architecture = Architecture(cell=cell, **{"hidden_size": 13, **shape}, input_size=size, output_size=size)
    specs = architecture.specs()
    flat = np.random.default_rng(5).normal(0, 0.8, count(specs)).astype(np.float32)
    weights = views(specs, flat)
    for layer in range(architecture.num_layers):
        weights[f"rnn.weight_hh_l{layer}"] *= 0.3
    return TextModel(Checkpoint(architecture, {"name": "lm", **vocabulary.to_dict(), "lines": lines}, weights))


def rounded(model):
    """The same model with weights that float16 can hold."""
    weights = {name: w.astype(np.float16).astype(np.float32) for name, w in model.checkpoint.weights.items()}
    return TextModel(Checkpoint(model.architecture, model.checkpoint.task, weights))


def read(model, ids):
    """The stepper, and the logits (N + 1, V) before and after each of the ids (N,), the start symbol read first."""
    stepper = new_stepper(model.architecture, model.checkpoint.weights, 1)
    logits = []
    for i in model.started(ids).tolist():
        if i == model.record_end():
            stepper.reset([0])
        logits.append(stepper.step([i])[0].copy())
    return stepper, np.array(logits)


def write(model, ids, uniforms, temperature=1.0, top_p=1.0):
    """The ids that are drawn with these uniform numbers behind `ids`."""
    stepper, logits = read(model, ids)
    drawn, outputs, choice = [], logits[-1], SamplingOptions(temperature=temperature, top_p=top_p)
    for u in uniforms:
        drawn += choose(outputs[None], choice, np.array([u]))[0].tolist()
        if drawn[-1] == model.record_end():
            stepper.reset([0])
        outputs = stepper.step(drawn[-1:])[0]
    return drawn


def mulberry32(seed, number):
    """The page's generator, written anew: uniform numbers in [0, 1)."""
    numbers, a, mask = [], seed, 2**32 - 1
    for _ in range(number):
        a = (a + 0x6D2B79F5) & mask
        t = (a ^ a >> 15) * (1 | a) & mask
        t = ((t + ((t ^ t >> 7) * (61 | t) & mask)) & mask) ^ t
        numbers.append((t ^ t >> 14) / 2**32)
    return numbers


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no browser: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])  # which root must do without
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Opens a model's page with the network off: visit(model, ...) -> the page. Whatever the page asks for, complains
    of, or pops up fails the test."""
    contexts, trouble = [], []

    def open_page(model, *, html=None, colour_scheme="light", width=1200, reduced_motion="no-preference", init=None):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=colour_scheme,
            reduced_motion=reduced_motion,
            offline=True,
        )
        contexts.append(context)
        path = tmp_path / "page.html"
        path.write_text(html or page(model), encoding="utf-8")
        opened = context.new_page()
        opened.set_default_timeout(20_000)
        opened.on("request", lambda request: trouble.append(request.url) if request.url != path.as_uri() else None)
        opened.on("console", lambda message: trouble.append(message.text))
        opened.on("pageerror", lambda error: trouble.append(str(error)))
        opened.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
        if init:
            opened.add_init_script(init)
        opened.goto(path.as_uri())
        return opened

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.fixture(scope="module")
def engine(browser):
    """Runs engine.js (see there) in a page: engine([html, ...], text, uniforms, ...) -> what it makes of each."""
    opened = browser.new_context(reduced_motion="reduce").new_page()
    opened.set_content(page(text_model()))
    with open(__file__.replace("test_page.py", "engine.js"), encoding="utf-8") as file:
        source = file.read()

    def run(pages, text, uniforms=(), temperature=1.0, top_p=1.0):
        choice = {"temperature": temperature, "topP": top_p}
        return opened.evaluate(source, {"pages": pages, "text": text, "uniforms": list(uniforms), "choice": choice})

    yield run
    opened.context.close()


def written(opened):
    """The text on the page, once it is as long as it gets."""
    opened.get_by_role("button", name="Go on", exact=True).wait_for()
    return "".join(opened.evaluate(EVERY))


def wait_for_text(opened, length):
    """Until there are more characters than that."""
    opened.locator("#paper span").nth(length).wait_for(state="attached")


def fast(opened):
    opened.locator("#speed").press("End")


def choose_colour(opened, colour):
    opened.locator(f"input[value={colour}]").check()


# The engine


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("embedding_size", [0, 5])
@pytest.mark.parametrize("kind", ["characters", "bytes", "lines"])
def test_the_page_computes_and_draws_what_numpy_does(engine, cell, layers, embedding_size, kind):
    model = text_model(
        cell, is_bytes=kind == "bytes", lines=kind == "lines", num_layers=layers, embedding_size=embedding_size
    )
    ids = model.vocabulary.encode("".join(c for c in TEXT if c in LETTERS)).tolist()
    _, logits = read(model, ids)
    uniforms = np.random.default_rng(7).random(120).tolist()
    choice = {"temperature": 0.8, "top_p": 0.9}

    exact, halves = engine([page(model, float32=True), page(model)], TEXT, uniforms, **choice)
    np.testing.assert_allclose(exact["logits"], logits, rtol=0, atol=1e-5)
    p = np.exp(logits[:-1].astype(np.float64))
    np.testing.assert_allclose(exact["nats"], -np.log(p[range(len(ids)), ids] / p.sum(axis=1)), atol=1e-5)
    drawn = write(model, ids, uniforms, **choice)
    assert exact["ids"] == drawn
    assert exact["written"] == model.vocabulary.decode(drawn)
    for there in exact["returned"]:  # looked back at from a later place, and gone back to
        np.testing.assert_allclose(there, logits[-1], rtol=0, atol=1e-5)

    np.testing.assert_allclose(halves["logits"], read(rounded(model), ids)[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_float16_moves_the_logits_of_a_trained_size_by_less_than_2e_3(engine, cell):
    """Weights of the size that training starts from."""
    model = text_model(cell, hidden_size=24)
    weights = {name: 0.2 * w for name, w in model.checkpoint.weights.items()}
    model = TextModel(Checkpoint(model.architecture, model.checkpoint.task, weights))
    _, logits = read(model, model.vocabulary.encode("abc. The end"))
    difference = np.abs(np.array(engine([page(model)], "abc. The end")[0]["logits"]) - logits).max()
    assert 1e-7 < difference < 2e-3


@pytest.mark.parametrize(
    "choice", [{}, {"temperature": 0.0}, {"temperature": 1.4}, {"top_p": 0.5}, {"top_p": 0.0, "temperature": 2.0}]
)
def test_choices_are_those_of_the_sampler(engine, choice):
    model = text_model("gru")
    uniforms = np.random.default_rng(8).random(300).tolist()
    (there,) = engine([page(model, float32=True)], "", uniforms, **choice)
    assert there["written"] == model.vocabulary.decode(write(model, [], uniforms, **choice))


@pytest.mark.parametrize("cell", CELLS)
def test_the_units_are_what_they_say(engine, cell):
    model = text_model(cell, num_layers=2)
    ids = model.vocabulary.encode("abc").tolist()
    stepper, _ = read(model, ids)
    state = [np.tanh(layer.state[1]) if cell == "lstm" else layer.state[0] for layer in stepper.layers]
    (there,) = engine([page(model, float32=True)], "abc")
    np.testing.assert_allclose(np.array(there["units"]) / 127, np.concatenate(state, axis=1)[0], atol=0.5 / 127 + 1e-5)


def test_bytes_become_characters_as_in_python_whatever_they_are(engine):
    model = text_model(codes=range(256), is_bytes=True)
    model.checkpoint.weights["head.weight"][...] = model.checkpoint.weights["head.bias"][...] = 0
    wanted = (
        "aé語🙂".encode()
        + b"\xc3A\xe8\xaa\xe8\xff\x80\xf0\x9f\x99\xed\xa0\x80\xe0\x80\x80\xf4\x90\x80\x80\xc3\xc3\xa9\xf0"
    )
    (drawn,) = engine([page(model)], "", [(byte + 0.5) / 256 for byte in wanted])  # all are equally likely
    assert bytes(drawn["ids"]) == wanted
    assert drawn["written"] == wanted.decode("utf-8", "replace")


# The file


def test_the_page_names_no_other_place():
    html = page(text_model())
    assert not re.search(r"\b(?:https?|wss?|ftp|file|blob):", html)
    assert not re.search(
        r"\b(?:src|srcset|action|poster)=|@import|\burl\(|\bfetch\(|\bimport\b|XMLHttp|WebSocket", html
    )
    assert re.findall(r'\bhref="(.*?)"', html) == ["data:,"]


def test_a_weight_that_float16_cannot_hold_is_refused():
    model = text_model()
    model.checkpoint.weights["head.bias"][0] = 1e5
    with pytest.raises(UsageError, match="--float32"):
        page(model)
    assert page(model, float32=True)


# In the browser


def test_it_writes_at_once_and_stops_and_goes_on(visit):
    opened = visit(text_model())
    wait_for_text(opened, 5)
    opened.get_by_role("button", name="Stop").click()
    stopped = opened.evaluate(EVERY)
    opened.wait_for_timeout(150)
    assert opened.evaluate(EVERY) == stopped
    opened.get_by_role("button", name="Go on", exact=True).click()
    wait_for_text(opened, len(stopped) + 3)
    fast(opened)
    text = written(opened)
    assert text.startswith("".join(stopped)) and len(text) == len(stopped) + 2000


def test_a_prime_a_seed_and_a_temperature_give_the_text_that_python_gives(visit):
    model = text_model(num_layers=2)
    opened = visit(model, html=page(model, float32=True))
    fast(opened)
    opened.locator("summary", has_text="More").click()
    opened.get_by_label("Seed").fill("7")
    opened.get_by_label("Temperature").fill("1.1")
    opened.get_by_label("top-p").fill("0.9")
    assert [opened.locator(f"#{name}-value").inner_text() for name in ("temperature", "top-p")] == ["1.10", "90 %"]
    prime = "Say: 語%end"
    opened.get_by_label("Begin with").fill(prime)
    opened.get_by_label("Begin with").press("Enter")
    text = written(opened)
    assert opened.locator("#paper .unknown").all_inner_texts() == [":", "%"]
    ids = model.vocabulary.encode(prime, skip_unknown=True).tolist()
    drawn = write(model, ids, mulberry32(7, 2000), temperature=1.1, top_p=0.9)
    assert text == prime + model.vocabulary.decode(drawn)
    assert "2,010 characters · seed 7" in opened.locator("#count").inner_text()

    opened.get_by_label("Stop after").fill("e")
    opened.get_by_role("button", name="Write").click()
    text = written(opened)
    assert text.index("e", len(prime)) == len(text) - 1
    opened.get_by_role("button", name="Go on", exact=True).click()
    assert written(opened).startswith(text) and len(written(opened)) > len(text)


def test_a_character_that_is_pointed_at_shows_what_else_there_was_and_another_goes_on_from_there(visit):
    model = text_model()
    opened = visit(model)
    fast(opened)
    text = written(opened)
    place = next(k for k in range(40, 99) if text[k].isalpha())
    opened.locator("#paper span").nth(place).hover()
    ids = model.vocabulary.encode(text[:place]).tolist()
    order = np.argsort(-read(rounded(model), ids)[1][-1], kind="stable")[:3]
    names = [{"\n": "↵", " ": "␣"}.get(c, c) for c in model.vocabulary.decode(order)]
    assert opened.locator("#next li:visible bdi").all_inner_texts()[:3] == names
    assert opened.locator("#next .actual").count() == 1
    opened.locator("#paper span").nth(place).click()
    other = next(n for n in range(3) if model.vocabulary.decode(order[n : n + 1]) != text[place])
    opened.locator("#next button").nth(other).click()
    again = written(opened)
    assert again[: place + 1] == text[:place] + model.vocabulary.decode(order[other : other + 1])
    assert len(again) == place + 1 + 2000
    assert opened.locator("#paper .chosen").count() == 1


def test_a_text_of_the_reader_s_own_is_coloured_and_what_is_unknown_is_left_out(visit):
    model = text_model("rnn")
    opened = visit(model)
    opened.get_by_label("It reads your text").check()
    text = "The end%%, 5 語\nof it"
    opened.get_by_label("Your text", exact=True).fill(text)
    assert written(opened) == text
    assert opened.locator("#paper .unknown").all_inner_texts() == ["%", "%", "5"]
    known = "".join(c for c in text if c not in "%5")
    _, logits = read(rounded(model), model.vocabulary.encode(known))
    p = np.exp(logits[:-1].astype(np.float64))
    ids = model.vocabulary.encode(known)
    nats = -np.log(p[range(len(ids)), ids] / p.sum(axis=1))
    tints = "Array.from(document.querySelectorAll('.given'), (span) => Number(span.style.getPropertyValue('--tint')))"
    assert opened.evaluate(tints) == pytest.approx(np.minimum(1, nats / np.log(400)), abs=6e-4)
    choose_colour(opened, "unit")
    opened.locator("#unit").fill("3")
    stepper, _ = read(rounded(model), model.vocabulary.encode(known))
    assert opened.evaluate(tints)[-1] == pytest.approx(abs(stepper.layers[0].state[0][0, 3]), abs=6e-3)

    opened.get_by_label("Your text", exact=True).fill("The end%%. " * 2000)
    assert len(written(opened)) == 20000 and "20,000" in opened.locator("#status").inner_text()


def test_the_units_that_were_found_are_offered(visit):
    found = [{"probe": "inside <b>", "layer": 1, "unit": 7, "correlation": 0.8314}]
    found += [{"probe": "digits", "layer": 0, "unit": 2, "correlation": -0.7}]
    model = text_model(num_layers=2)
    opened = visit(model, html=page(model, units=found))
    choose_colour(opened, "unit")
    assert opened.locator("#unit-name").inner_text() == "1.7"
    assert opened.locator("#found option").all_inner_texts() == ["inside <b> (0.83)", "digits (-0.70)"]
    opened.get_by_label("Found").select_option("digits (-0.70)")
    assert opened.locator("#unit-name").inner_text() == "0.2"


def test_with_the_keyboard_alone(visit):
    opened = visit(text_model())
    opened.keyboard.press("Tab")
    opened.keyboard.press("Tab")
    opened.keyboard.type("cab")
    opened.keyboard.press("Enter")
    wait_for_text(opened, 6)
    opened.locator("#paper").focus()
    for name in ("Home", "ArrowRight"):
        opened.keyboard.press(name)
    assert opened.locator("#paper .held").inner_text() == "a"
    assert "Here stands a" in opened.locator("#here").inner_text()
    opened.keyboard.press("3")
    wait_for_text(opened, 4)
    assert opened.evaluate(EVERY)[0] == "c"
    assert opened.locator("#paper span").nth(1).get_attribute("class") == "chosen"
    opened.locator("#paper").focus()
    opened.keyboard.press("Home")
    opened.keyboard.press("Escape")
    assert opened.locator("#paper .held").count() == 0


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_has_its_room_and_can_be_read(visit, width, scheme):
    opened = visit(text_model(num_layers=3), width=width, colour_scheme=scheme)
    choose_colour(opened, "unit")
    wait_for_text(opened, 9)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [opened.locator(name).bounding_box() for name in CONTROLS]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width and box["height"] >= 20 for box in boxes)
    for k, one in enumerate(boxes):
        for other in boxes[k + 1 :]:
            assert (
                one["x"] + one["width"] <= other["x"]
                or other["x"] + other["width"] <= one["x"]
                or one["y"] + one["height"] <= other["y"]
                or other["y"] + other["height"] <= one["y"]
            )
    style = "getComputedStyle(document.documentElement).getPropertyValue('--%s')"
    colours = {}
    for name in ("page", "sheet", "ink", "soft", "accent", "on-accent", "edge", "warm", "cold"):
        colours[name] = np.array(opened.evaluate(style % name).split(), float) / 255
    tinted = [0.6 * colours[name] + 0.4 * colours["sheet"] for name in ("warm", "cold")]
    for ground in (colours["page"], colours["sheet"]):
        assert all(contrast(colours[name], ground) >= 4.5 for name in ("ink", "soft", "accent"))
        assert contrast(colours["edge"], ground) >= 3  # of what is pressed or typed in
    assert all(contrast(colours["ink"], ground) >= 4.5 for ground in tinted)
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5


def contrast(one, other):
    """WCAG's ratio of two colours (3,) from 0 to 1."""
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (one, other)]
    dark, light = sorted(float(c @ [0.2126, 0.7152, 0.0722]) for c in linear)
    return (light + 0.05) / (dark + 0.05)


def test_nothing_moves_where_the_reader_asks_for_none(visit):
    watch = f"""window.seen = new Set();
        (function look() {{ window.seen.add({EVERY}.length); requestAnimationFrame(look); }})();"""
    opened = visit(text_model(), reduced_motion="reduce", init=watch)
    assert len(written(opened)) == 2000
    assert set(opened.evaluate("Array.from(seen)")) <= {0, 2000}


def test_hostile_names_and_texts_stay_text(visit, tmp_path):
    model = text_model(symbols=HOSTILE + "\r\n")
    found = [{"probe": HOSTILE, "layer": 0, "unit": 1, "correlation": 0.5}]
    opened = visit(model, html=page(model, units=found))
    fast(opened)
    opened.get_by_label("Begin with").fill(HOSTILE)
    opened.get_by_role("button", name="Write").click()
    written(opened)
    assert opened.evaluate("session.text").startswith(HOSTILE)
    assert "alert(1)</script>" in opened.locator("#paper").inner_text()
    opened.locator("footer summary").click()
    assert {"U+202E", "U+0000", "←", "<", "{"} <= set(opened.locator("#known").inner_text().split())
    assert opened.locator("#found option").text_content().startswith("</script>")
    assert opened.locator("script").count() == 3 and opened.locator("img").count() == 0
