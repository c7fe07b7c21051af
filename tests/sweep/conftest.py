"""Plans of small sweeps."""

import pytest

from charrnn.sweep.plan import Plan
from charrnn.sweep.space import parse_space

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 30
OPTIONS = {"hidden_size": 8, "batch_size": 8, "seq_length": 16, "max_steps": 20, "eval_every": 2, "warmup_steps": 0}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text(TEXT)
    return str(path)


@pytest.fixture(scope="session")
def make_plan(corpus):
    """Makes a plan of a small sweep. Further keywords are options of `charrnn train`."""

    def make(search=(), grid=(), trials=4, jobs=1, prune=False, repeats=1, corpus=corpus, **options):
        options = OPTIONS | options
        space = parse_space(list(grid), list(search), options)
        return Plan((corpus,), options, space, bool(grid), "study", trials, jobs, prune, repeats)

    return make
