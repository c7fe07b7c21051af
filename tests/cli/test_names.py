"""Names of files and runs that are hidden, long, links, not UTF-8, in use or unreadable."""

import contextlib
import itertools
import os
import shutil
import tempfile
from pathlib import Path

from .conftest import TEXT

MAX_NAME = 255  # bytes, on most file systems


def test_the_run_of_a_hidden_corpus_is_listed(charrnn, train):
    Path(".hidden").write_text(TEXT)
    assert train(".hidden", "--max-steps", "2")["run"] == "runs/hidden-001"
    train(".hidden", "--max-steps", "2", "--run", "runs/.mine")
    Path("runs/.cache").mkdir()
    assert {Path(row["run"]).name for row in charrnn("runs", "--json").json["runs"]} == {"hidden-001", ".mine"}


def test_toml_of_a_name_that_is_not_utf_8_is_refused(charrnn, train):
    corpus = Path(os.fsdecode(b"caf\xe9.txt"))
    corpus.write_text(TEXT)
    train(corpus, "--max-steps", "2", "--run", "r")
    assert charrnn("info", "r").code == 0
    charrnn("info", "r", "--toml").fails(2, "--toml", "corpus", "UTF-8", "rename")


def test_an_output_may_have_the_longest_name_and_may_be_a_link(charrnn, trained):
    longest = Path("p" * (MAX_NAME - len(".html")) + ".html")
    assert charrnn("page", "--run", trained, "-o", longest).code == 0
    assert longest.read_text()
    Path("folder").mkdir()
    Path("link.html").symlink_to("folder/page.html")
    for _ in range(2):  # the target does not exist, and then it does
        assert charrnn("page", "--run", trained, "-o", "link.html").code == 0
        assert Path("link.html").is_symlink() and Path("folder/page.html").read_text()
    assert [path.name for path in Path("folder").iterdir()] == ["page.html"]


def test_an_output_does_not_replace_the_corpus_or_a_file_of_the_run(charrnn, train):
    Path("corpus.html").write_text(TEXT)
    train("corpus.html", "--max-steps", "2", "--run", "r")
    for name, link in (("a.png", "corpus.html"), ("b.html", "r/last.safetensors"), ("c.onnx", "r/config.json")):
        Path(name).symlink_to(link)
    before = {path: path.read_bytes() for path in [Path("corpus.html"), *Path("r").iterdir()]}
    charrnn("page", "--run", "r", "-o", "corpus.html").fails(2, "corpus.html", "the run r uses this file")
    charrnn("page", "--run", "r", "-o", "b.html").fails(2, "b.html", "the run r uses this file")
    charrnn("export", "--run", "r", "c.onnx").fails(2, "c.onnx", "the run r uses this file")
    charrnn("view", "--run", "r", "--output", "a.png").fails(2, "a.png", "the run r uses this file")
    charrnn("plot", "r", "--output", "a.png").fails(2, "a.png", "the run r uses this file")
    assert before == {path: path.read_bytes() for path in before}


@contextlib.contextmanager
def as_ordinary_user():
    """File permissions do not apply to root, so root becomes another user."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_files_that_may_not_be_read_are_named_with_the_reason(charrnn, train, corpus, tmp_path):
    for folder in itertools.takewhile(lambda path: path != Path(tempfile.gettempdir()), [tmp_path, *tmp_path.parents]):
        folder.chmod(0o755)
    train(corpus, "--max-steps", "2", "--run", "r")
    for name in ("closed", "weights"):
        shutil.copytree("r", name)
    Path("secret.txt").write_text(TEXT)
    for name in ("secret.txt", "weights/best.safetensors", "closed"):
        Path(name).chmod(0)
    cases = [
        (["train", "secret.txt", "--max-steps", "1"], 3, "secret.txt"),
        (["eval", "secret.txt", "--run", "r"], 3, "secret.txt"),
        (["sample", "--run", "weights"], 4, "weights/best.safetensors"),
        (["info", "weights"], 4, "weights/best.safetensors"),
        (["sample", "--run", "closed"], 4, "closed"),
        (["train", "corpus.txt", "--max-steps", "1", "--init-from", "closed"], 4, "closed"),
        (["train", "--resume", "closed", "--max-steps", "3"], 4, "closed"),
        (["info", "closed"], 4, "closed"),
        (["runs", "closed"], 4, "closed"),
    ]
    for arguments, code, name in cases:
        readable = [{"secret.txt": "corpus.txt", "weights": "r", "closed": "r"}.get(word, word) for word in arguments]
        charrnn(*readable)  # imports what the command needs, which the other user may not be able to read
        with as_ordinary_user():
            outcome = charrnn(*arguments)
        assert name in outcome.err and "Permission denied" in outcome.err
        outcome.fails(code, is_pinned=False)
    Path("closed").chmod(0o755)
