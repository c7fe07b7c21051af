"""The page of a model: its engine compared with NumPy, and the page in a browser without a network connection."""

import re
from pathlib import Path

import numpy as np
import pytest

from charrnn.corpus.escapes import readable
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import UsageError
from charrnn.models.architecture import Architecture
from charrnn.models.network import new_stepper
from charrnn.models.sampling import choose
from charrnn.nn.parameters import count_parameters, named_views
from charrnn.nn.stack import CELLS
from charrnn.options import SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.language.model import TextModel
from charrnn.web.page import build_page

LETTERS = "\n abcdefghijklmnopqrstuvwxyz.,;!?ABCDEFGHIJKLMNOPQRSTUVWXYZé語🙂"
TEXT = "Éine köpek,\nthe end. 語🙂!"
HOSTILE = (
    "</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> \" ' & {{script}} \u2028 \u202e \0 \u200f"
)
CONTROLS = ("#mode", "#prime", "#write", "#stop", "#copy", "#text", "#colour", "#predictions", "#temperature", "#speed")
SHOWN_CHARACTERS = "Array.from(document.querySelectorAll('#text span'), (span) => span.textContent)"


def make_model(cell="lstm", symbols=LETTERS, is_bytes=False, lines=False, codes=(), **shape):
    """A model with random weights. They are large, so that the predictions are far from uniform, except those of W_hh,
    so that the network does not amplify rounding errors."""
    codes = codes or (set(symbols.encode()) if is_bytes else set(map(ord, symbols)))
    vocabulary = Vocabulary(np.array(sorted(codes), np.uint32), is_bytes)
    size = len(vocabulary)
    architecture = Architecture(cell=cell, **{"hidden_size": 13, **shape}, input_size=size, output_size=size)
    specs = architecture.specs()
    parameters = np.random.default_rng(5).normal(0, 0.8, count_parameters(specs)).astype(np.float32)
    weights = named_views(specs, parameters)
    for layer in range(architecture.num_layers):
        weights[f"rnn.weight_hh_l{layer}"] *= 0.3
    return TextModel(Checkpoint(architecture, {"name": "lm", **vocabulary.to_dict(), "lines": lines}, parameters))


def with_parameters(model, parameters):
    return TextModel(Checkpoint(model.architecture, model.checkpoint.task, parameters))


def rounded_to_float16(model):
    return with_parameters(model, model.parameters.astype(np.float16).astype(np.float32))


def read(model, ids):
    """A stepper that has read the start symbol and ids (N,), and the logits (N + 1, V) before and after each id."""
    stepper = new_stepper(model.architecture, model.parameters, 1)
    logits = []
    for i in model.prepend_start(ids).tolist():
        if i == model.record_end():
            stepper.reset([0])
        logits.append(stepper.step([i])[0].copy())
    return stepper, np.array(logits)


def write(model, ids, uniforms, temperature=1.0, top_p=1.0):
    """The ids that are drawn with these uniform numbers after `ids`."""
    stepper, all_logits = read(model, ids)
    logits = all_logits[-1]
    options = SamplingOptions(temperature=temperature, top_p=top_p)
    drawn = []
    for u in uniforms:
        drawn += choose(logits[None], options, np.array([u]))[0].tolist()
        if drawn[-1] == model.record_end():
            stepper.reset([0])
        logits = stepper.step(drawn[-1:])[0]
    return drawn


def mulberry32(seed, number):
    """The numbers of the page's generator, in Python: uniform in [0, 1)."""
    mask = 2**32 - 1
    numbers = []
    a = seed
    for _ in range(number):
        a = (a + 0x6D2B79F5) & mask
        t = (a ^ a >> 15) * (1 | a) & mask
        t = ((t + ((t ^ t >> 7) * (61 | t) & mask)) & mask) ^ t
        numbers.append((t ^ t >> 14) / 2**32)
    return numbers


@pytest.fixture
def visit(browser, tmp_path):
    """visit(model, ...) opens the page of a model offline. The test fails if the page requests anything else, logs a
    message, raises an error or opens a dialog."""
    contexts = []
    violations = []

    def open_page(model, *, html=None, colour_scheme="light", width=1200, reduced_motion="no-preference", init=None):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=colour_scheme,
            reduced_motion=reduced_motion,
            offline=True,
        )
        contexts.append(context)
        path = tmp_path / "page.html"
        path.write_text(html or build_page(model), encoding="utf-8")
        opened = context.new_page()
        opened.set_default_timeout(20_000)
        opened.on("request", lambda request: violations.append(request.url) if request.url != path.as_uri() else None)
        opened.on("console", lambda message: violations.append(message.text))
        opened.on("pageerror", lambda error: violations.append(str(error)))
        opened.on("dialog", lambda dialog: (violations.append(dialog.message), dialog.dismiss()))
        if init:
            opened.add_init_script(init)
        opened.goto(path.as_uri())
        return opened

    yield open_page
    for context in contexts:
        context.close()
    assert violations == []


@pytest.fixture(scope="module")
def engine(browser):
    """engine([html, ...], text, uniforms, ...) runs engine.js in a page and returns its result for each model."""
    opened = browser.new_context(reduced_motion="reduce").new_page()
    opened.set_content(build_page(make_model()))
    source = Path(__file__).with_name("engine.js").read_text(encoding="utf-8")

    def run(pages, text, uniforms=(), temperature=1.0, top_p=1.0):
        sampling = {"temperature": temperature, "topP": top_p}
        return opened.evaluate(source, {"pages": pages, "text": text, "uniforms": list(uniforms), "sampling": sampling})

    yield run
    opened.context.close()


def finished_text(opened):
    """The text on the page after the network has stopped."""
    opened.get_by_role("button", name="Continue", exact=True).wait_for()
    return "".join(opened.evaluate(SHOWN_CHARACTERS))


def wait_for_character(opened, place):
    opened.locator("#text span").nth(place).wait_for(state="attached")


def set_maximum_speed(opened):
    opened.locator("#speed").press("End")


def choose_colour(opened, colour):
    opened.locator(f"input[value={colour}]").check()


# The engine


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("embedding_size", [0, 5])
@pytest.mark.parametrize("kind", ["characters", "bytes", "lines"])
def test_the_page_computes_and_draws_the_same_as_numpy(engine, cell, layers, embedding_size, kind):
    model = make_model(
        cell, is_bytes=kind == "bytes", lines=kind == "lines", num_layers=layers, embedding_size=embedding_size
    )
    ids = model.vocabulary.encode("".join(c for c in TEXT if c in LETTERS)).tolist()
    _, logits = read(model, ids)
    uniforms = np.random.default_rng(7).random(120).tolist()
    options = {"temperature": 0.8, "top_p": 0.9}

    exact, rounded = engine([build_page(model, float32=True), build_page(model)], TEXT, uniforms, **options)
    np.testing.assert_allclose(exact["logits"], logits, rtol=0, atol=1e-5)
    p = np.exp(logits[:-1].astype(np.float64))
    np.testing.assert_allclose(exact["nats"], -np.log(p[range(len(ids)), ids] / p.sum(axis=1)), atol=1e-5)
    drawn = write(model, ids, uniforms, **options)
    assert exact["ids"] == drawn
    assert exact["written"] == readable(model.vocabulary.decode(drawn))
    for name in ("recomputed", "afterTruncation"):
        np.testing.assert_allclose(exact[name], logits[-1], rtol=0, atol=1e-5)

    np.testing.assert_allclose(rounded["logits"], read(rounded_to_float16(model), ids)[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_float16_changes_logits_by_less_than_2e_3_for_weights_of_usual_size(engine, cell):
    model = make_model(cell, hidden_size=24)
    model = with_parameters(model, 0.2 * model.parameters)
    _, logits = read(model, model.vocabulary.encode("abc. The end"))
    difference = np.abs(np.array(engine([build_page(model)], "abc. The end")[0]["logits"]) - logits).max()
    assert 1e-7 < difference < 2e-3


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.0}, {"temperature": 1.4}, {"top_p": 0.5}, {"top_p": 0.0, "temperature": 2.0}]
)
def test_sampling_options_have_the_same_effect_as_in_python(engine, options):
    model = make_model("gru")
    uniforms = np.random.default_rng(8).random(300).tolist()
    (result,) = engine([build_page(model, float32=True)], "", uniforms, **options)
    assert result["written"] == model.vocabulary.decode(write(model, [], uniforms, **options))


@pytest.mark.parametrize("cell", CELLS)
def test_the_activity_of_the_units_is_that_of_the_network(engine, cell):
    model = make_model(cell, num_layers=2)
    stepper, _ = read(model, model.vocabulary.encode("abc").tolist())
    activity = [np.tanh(layer.state[1]) if cell == "lstm" else layer.state[0] for layer in stepper.layers]
    (result,) = engine([build_page(model, float32=True)], "abc")
    expected = np.concatenate(activity, axis=1)[0]
    np.testing.assert_allclose(np.array(result["activity"]) / 127, expected, atol=0.5 / 127 + 1e-5)


def uniform_byte_model():
    """A model of bytes that predicts all bytes with equal probability."""
    model = make_model(codes=range(256), is_bytes=True)
    model.checkpoint.weights["head.weight"][...] = 0
    model.checkpoint.weights["head.bias"][...] = 0
    return model


def test_any_sequence_of_bytes_is_decoded_as_in_python(engine):
    invalid = b"\xc3A\xe8\xaa\xe8\xff\x80\xf0\x9f\x99\xed\xa0\x80\xe0\x80\x80\xf4\x90\x80\x80\xc3\xc3\xa9\xf0"
    wanted = "aé語🙂".encode() + invalid
    (result,) = engine([build_page(uniform_byte_model())], "", [(byte + 0.5) / 256 for byte in wanted])
    assert bytes(result["ids"]) == wanted
    assert result["written"] == wanted.decode("utf-8", "replace")


# The file


def test_the_page_refers_to_no_other_file_or_server():
    html = build_page(make_model())
    assert not re.search(r"\b(?:https?|wss?|ftp|file|blob):", html)
    assert not re.search(
        r"\b(?:src|srcset|action|poster)=|@import|\burl\(|\bfetch\(|\bimport\b|XMLHttp|WebSocket", html
    )
    assert re.findall(r'\bhref="(.*?)"', html) == ["data:,"]


def test_weights_out_of_the_range_of_float16_need_float32():
    model = make_model()
    model.checkpoint.weights["head.bias"][0] = 1e5
    with pytest.raises(UsageError, match="--float32"):
        build_page(model)
    assert build_page(model, float32=True)


# In the browser


def test_the_page_starts_writing_and_can_be_stopped_and_continued(visit):
    opened = visit(make_model())
    wait_for_character(opened, 5)
    opened.get_by_role("button", name="Stop").click()
    stopped = opened.evaluate(SHOWN_CHARACTERS)
    opened.wait_for_timeout(150)
    assert opened.evaluate(SHOWN_CHARACTERS) == stopped
    opened.get_by_role("button", name="Continue", exact=True).click()
    wait_for_character(opened, len(stopped) + 3)
    set_maximum_speed(opened)
    text = finished_text(opened)
    assert text.startswith("".join(stopped)) and len(text) == len(stopped) + 2000


def test_prime_seed_temperature_and_top_p_give_the_same_text_as_in_python(visit):
    model = make_model(num_layers=2)
    opened = visit(model, html=build_page(model, float32=True))
    set_maximum_speed(opened)
    opened.locator("summary", has_text="More").click()
    opened.get_by_label("Seed").fill("7")
    opened.get_by_label("Temperature").fill("1.1")
    opened.get_by_label("top-p").fill("0.9")
    assert [opened.locator(f"#{name}-value").inner_text() for name in ("temperature", "top-p")] == ["1.10", "90 %"]
    prime = "Say: 語%end"
    opened.get_by_label("Begin with").fill(prime)
    opened.get_by_label("Begin with").press("Enter")
    text = finished_text(opened)
    assert opened.locator("#text .unknown").all_inner_texts() == [":", "%"]
    ids = model.vocabulary.encode(prime, skip_unknown=True).tolist()
    drawn = write(model, ids, mulberry32(7, 2000), temperature=1.1, top_p=0.9)
    assert text == prime + model.vocabulary.decode(drawn)
    assert "2,010 characters · seed 7" in opened.locator("#count").inner_text()


def test_writing_ends_after_the_stop_text_and_can_be_continued(visit):
    opened = visit(make_model(num_layers=2))
    set_maximum_speed(opened)
    opened.locator("summary", has_text="More").click()
    opened.get_by_label("Begin with").fill("the end")
    opened.get_by_label("Stop after").fill("e")
    opened.get_by_role("button", name="Write").click()
    text = finished_text(opened)
    assert text.index("e", len("the end")) == len(text) - 1
    opened.get_by_role("button", name="Continue", exact=True).click()
    continued = finished_text(opened)
    assert continued.startswith(text) and len(continued) > len(text)


def test_pointing_at_a_character_shows_its_alternatives_and_choosing_one_continues_with_it(visit):
    model = make_model()
    opened = visit(model)
    set_maximum_speed(opened)
    text = finished_text(opened)
    place = next(k for k in range(40, 99) if text[k].isalpha())
    opened.locator("#text span").nth(place).hover()
    ids = model.vocabulary.encode(text[:place]).tolist()
    order = np.argsort(-read(rounded_to_float16(model), ids)[1][-1], kind="stable")[:3]
    names = [{"\n": "↵", " ": "␣"}.get(c, c) for c in model.vocabulary.decode(order)]
    assert opened.locator("#predictions li:visible bdi").all_inner_texts()[:3] == names
    assert opened.locator("#predictions .actual").count() == 1
    opened.locator("#text span").nth(place).click()
    other = next(n for n in range(3) if model.vocabulary.decode(order[n : n + 1]) != text[place])
    opened.locator("#predictions button").nth(other).click()
    continued = finished_text(opened)
    assert continued[: place + 1] == text[:place] + model.vocabulary.decode(order[other : other + 1])
    assert len(continued) == place + 1 + 2000
    assert opened.locator("#text .chosen").count() == 1


def test_the_reader_s_own_text_is_coloured_and_unknown_characters_are_not_read(visit):
    model = make_model("rnn")
    opened = visit(model)
    opened.get_by_label("Reading your text").check()
    text = "The end%%, 5 語\nof it"
    opened.get_by_label("Your text", exact=True).fill(text)
    assert finished_text(opened) == text
    assert opened.locator("#text .unknown").all_inner_texts() == ["%", "%", "5"]
    ids = model.vocabulary.encode(text, skip_unknown=True)
    stepper, logits = read(rounded_to_float16(model), ids)
    p = np.exp(logits[:-1].astype(np.float64))
    nats = -np.log(p[range(len(ids)), ids] / p.sum(axis=1))
    tints = "Array.from(document.querySelectorAll('.given'), (span) => Number(span.style.getPropertyValue('--tint')))"
    assert opened.evaluate(tints) == pytest.approx(np.minimum(1, nats / np.log(400)), abs=6e-4)
    choose_colour(opened, "unit")
    opened.locator("#unit").fill("3")
    assert opened.evaluate(tints)[-1] == pytest.approx(abs(stepper.layers[0].state[0][0, 3]), abs=6e-3)

    opened.get_by_label("Your text", exact=True).fill("The end%%. " * 2000)
    assert len(finished_text(opened)) == 20000
    assert "20,000" in opened.locator("#status").inner_text()


def test_bytes_of_an_incomplete_character_are_dropped_if_the_text_is_extended(visit):
    opened = visit(uniform_byte_model(), reduced_motion="reduce")
    finished_text(opened)
    extended = opened.evaluate("""() => {
        session.setText("a");
        while (session.queue.length) session.readNext();
        session.read(0xc3, "written");  // the first of two bytes
        session.setText("ab");
        while (session.queue.length) session.readNext();
        return [session.text, ...session.history.ids];
    }""")
    assert extended == ["ab", ord("a"), ord("b")]


def test_choosing_the_second_byte_completes_the_character(visit):
    opened = visit(uniform_byte_model(), reduced_motion="reduce")
    finished_text(opened)
    completed = opened.evaluate("""() => {
        session.setText("");
        session.replace(0, 0xc3);
        session.replace(0, 0xa9);
        return [session.text, ...session.history.ids];
    }""")
    assert completed == ["é", 0xC3, 0xA9]


def test_units_with_a_meaning_are_offered(visit):
    units = [
        {"probe": "inside <b>", "layer": 1, "unit": 7, "correlation": 0.8314},
        {"probe": "digits", "layer": 0, "unit": 2, "correlation": -0.7},
    ]
    model = make_model(num_layers=2)
    opened = visit(model, html=build_page(model, units=units))
    choose_colour(opened, "unit")
    assert opened.locator("#unit-name").inner_text() == "1.7"
    assert opened.locator("#match option").all_inner_texts() == ["inside <b> (0.83)", "digits (-0.70)"]
    opened.get_by_label("Meaning").select_option("digits (-0.70)")
    assert opened.locator("#unit-name").inner_text() == "0.2"


def test_the_page_can_be_used_with_the_keyboard_alone(visit):
    opened = visit(make_model())
    opened.keyboard.press("Tab")
    opened.keyboard.press("Tab")
    opened.keyboard.type("cab")
    opened.keyboard.press("Enter")
    wait_for_character(opened, 6)
    opened.locator("#text").focus()
    opened.keyboard.press("Home")
    opened.keyboard.press("ArrowRight")
    assert opened.locator("#text .selected").inner_text() == "a"
    assert "This is a" in opened.locator("#description").inner_text()
    opened.keyboard.press("3")
    wait_for_character(opened, 4)
    assert opened.evaluate(SHOWN_CHARACTERS)[0] == "c"
    assert opened.locator("#text span").nth(1).get_attribute("class") == "chosen"
    opened.locator("#text").focus()
    opened.keyboard.press("Home")
    opened.keyboard.press("Escape")
    assert opened.locator("#text .selected").count() == 0


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_controls_do_not_overlap_and_colours_have_the_contrast_that_wcag_requires(visit, width, scheme):
    opened = visit(make_model(num_layers=3), width=width, colour_scheme=scheme)
    choose_colour(opened, "unit")
    wait_for_character(opened, 9)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [opened.locator(name).bounding_box() for name in CONTROLS]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width and box["height"] >= 20 for box in boxes)
    for k, box in enumerate(boxes):
        for other in boxes[k + 1 :]:
            assert (
                box["x"] + box["width"] <= other["x"]
                or other["x"] + other["width"] <= box["x"]
                or box["y"] + box["height"] <= other["y"]
                or other["y"] + other["height"] <= box["y"]
            )
    style = "getComputedStyle(document.documentElement).getPropertyValue('--%s')"
    names = ("page", "surface", "foreground", "muted", "accent", "on-accent", "control-border", "warm", "cool")
    colours = {name: np.array(opened.evaluate(style % name).split(), float) / 255 for name in names}
    for background in (colours["page"], colours["surface"]):
        assert all(contrast(colours[name], background) >= 4.5 for name in ("foreground", "muted", "accent"))
        assert contrast(colours["control-border"], background) >= 3
    for tint in ("warm", "cool"):
        assert contrast(colours["foreground"], 0.6 * colours[tint] + 0.4 * colours["surface"]) >= 4.5
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5


def contrast(one, other):
    """The contrast ratio of WCAG, for two colours (3,) with values from 0 to 1."""
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (one, other)]
    dark, light = sorted(float(c @ [0.2126, 0.7152, 0.0722]) for c in linear)
    return (light + 0.05) / (dark + 0.05)


def test_the_text_appears_at_once_if_the_reader_prefers_reduced_motion(visit):
    watch = f"""window.lengths = new Set();
        (function look() {{ window.lengths.add({SHOWN_CHARACTERS}.length); requestAnimationFrame(look); }})();"""
    opened = visit(make_model(), reduced_motion="reduce", init=watch)
    assert len(finished_text(opened)) == 2000
    assert set(opened.evaluate("Array.from(lengths)")) <= {0, 2000}


def test_markup_in_names_and_texts_is_shown_as_text(visit):
    model = make_model(symbols=HOSTILE + "\r\n")
    units = [{"probe": HOSTILE, "layer": 0, "unit": 1, "correlation": 0.5}]
    opened = visit(model, html=build_page(model, units=units))
    set_maximum_speed(opened)
    opened.get_by_label("Begin with").fill(HOSTILE)
    opened.get_by_role("button", name="Write").click()
    finished_text(opened)
    assert opened.evaluate("session.text").startswith(HOSTILE)
    assert "alert(1)</script>" in opened.locator("#text").inner_text()
    opened.locator("footer summary").click()
    assert {"U+202E", "U+0000", "←", "<", "{"} <= set(opened.locator("#symbols").inner_text().split())
    assert opened.locator("#match option").text_content().startswith("</script>")
    assert opened.locator("script").count() == 3 and opened.locator("img").count() == 0
