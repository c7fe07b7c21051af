"""Random generators: every purpose has its own, and all of them are made in one module."""

import ast
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from charrnn.seeding import Purpose, generator_key, random_generator

PACKAGE = Path(__file__).parents[1] / "charrnn"
SEEDS = [0, 1, 2, 4, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63 - 1]
KEYS = [(), (0,), (1,), (2,), (10,), (2**32 - 1,), (2**32,), (2**40,)]


def test_purposes_have_distinct_numbers():
    numbers = [member.value for member in Purpose.__members__.values()]
    assert len(set(numbers)) == len(Purpose.__members__)


def test_no_purpose_has_a_number_that_numpy_cannot_distinguish_from_padding():
    """NumPy converts a key to 32-bit words and appends zeros: the keys (1, 4) and (1, 4, 0) are the same generator.

    The purpose is the word after the seed. If no purpose is zero, the words of two purposes with the same seed differ
    there, whatever follows.
    """
    assert np.random.default_rng((1, 4)).random() == np.random.default_rng((1, 4, 0)).random()
    assert all(0 < purpose.value < 2**32 for purpose in Purpose)


@pytest.mark.parametrize("seed", SEEDS)
def test_generators_of_different_purposes_with_the_same_seed_differ(seed):
    states = {}
    for purpose, key in product(Purpose, KEYS):
        state = tuple(np.random.SeedSequence(generator_key(seed, purpose, *key)).generate_state(4).tolist())
        assert states.setdefault(state, purpose) == purpose
    assert len(states) == len(Purpose) * (len(KEYS) - 1)  # for each purpose the keys () and (0,) are the same


@pytest.mark.parametrize("seed", SEEDS)
def test_the_generator_of_a_purpose_depends_on_its_key(seed):
    def numbers(purpose, key):
        return tuple(random_generator(seed, purpose, key).random(4).tolist())

    for purpose in Purpose:
        assert numbers(purpose, 2) == numbers(purpose, 2)
        assert len({numbers(purpose, key) for key in range(20)}) == 20


@pytest.mark.parametrize("purpose", Purpose)
def test_the_generators_of_a_purpose_depend_on_the_seed(purpose):
    assert len({random_generator(seed, purpose, 0).random() for seed in range(50)}) == 50


def test_a_generator_does_not_repeat_the_numbers_of_its_seed_alone():
    """Samples are drawn from `default_rng(seed)`."""
    for seed, purpose in product(SEEDS, Purpose):
        assert random_generator(seed, purpose).random() != np.random.default_rng(seed).random()


def calls(module, names):
    """The calls of some functions in a module of the package."""
    tree = ast.parse((PACKAGE / module).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in names:
                yield ast.unparse(node)


MODULES = [str(path.relative_to(PACKAGE).as_posix()) for path in sorted(PACKAGE.rglob("*.py"))]
GENERATOR_KEYS = {  # modules that make a generator from `generator_key`
    "seeding.py": {"np.random.default_rng(generator_key(seed, purpose, *key))"},
    "engines/masks.py": {"np.random.default_rng(key)"},
}


@pytest.mark.parametrize("module", MODULES)
def test_other_modules_make_generators_only_from_a_seed_alone(module):
    found = set(calls(module, {"default_rng"}))
    if module in GENERATOR_KEYS:
        assert found == GENERATOR_KEYS[module]
    else:
        assert all(call in ("np.random.default_rng(seed)", "np.random.default_rng(train.seed)") for call in found)


def test_masks_are_drawn_with_the_keys_of_seeding():
    keys = set(calls("engines/masks.py", {"generator_key"}))
    assert keys == {
        "generator_key(train.seed, Purpose.DROPOUT, step)",
        "generator_key(train.seed, Purpose.RECURRENT_DROPOUT, step)",
    }


def test_other_libraries_are_seeded_from_the_keys_of_seeding():
    used = {module: set(calls(module, {"SeedSequence"})) for module in MODULES}
    used = {module: found for module, found in used.items() if found}
    assert set(used) == {"engines/torch/device.py", "sweep/study.py"}
    assert all(found == {"np.random.SeedSequence(key)"} for found in used.values())
