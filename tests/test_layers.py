"""The shape of the code: imports run downwards, each outside library has its one room, and no file grows too long."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "charrnn"
# From the bottom up. A room imports from those below it, a module also from its own room as long as no circle comes
# of it. `charrnn` is the facade, charrnn/__init__.py.
ROOMS = [
    *("errors", "settings", "config", "nn", "corpus", "models", "storage", "inference", "tasks", "charrnn"),
    *("training", "pictures", "sweep", "cli", "__main__"),
]
LIBRARIES = {"typer": "cli", "rich": "cli", "tqdm": "cli", "safetensors": "storage", "onnx": "storage"}
LIBRARIES |= {"optuna": "sweep", "sqlalchemy": "sweep", "matplotlib": "pictures", "plotext": "pictures"}
LIBRARIES |= {"torch": "training"}
KNOWN = {"numpy", "threadpoolctl", *LIBRARIES}


def modules():
    """Dotted name -> path; a package stands for its __init__."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports_of(name):
    """Everything that a module imports, anywhere in it, as dotted names; of a package's modules, the modules."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return found


def room(module):
    """charrnn.nn.rnn -> nn; charrnn itself -> charrnn."""
    return module.split(".")[1] if "." in module else module


def height(module):
    return ROOMS.index(room(module))


def own(module):
    return {name for name in imports_of(module) if name.split(".")[0] == "charrnn"}


@pytest.mark.parametrize("module", MODULES)
def test_every_file_says_what_is_in_it(module):
    first = (ast.get_docstring(ast.parse(MODULES[module].read_text())) or "").split("\n")[0]
    assert len(first) > 15 or module == "charrnn.__main__"


def test_every_room_is_a_folder_or_a_file_at_the_top():
    assert {room(module) for module in MODULES} == set(ROOMS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downwards(module):
    assert {name for name in own(module) if height(name) > height(module)} == set()
    assert own(module) <= set(MODULES)


def test_imports_make_no_circle():
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            path.append(module)
            for name in sorted(own(module)):
                visit(name)
            path.pop()
            done.add(module)

    for module in MODULES:
        visit(module)
    assert done == set(MODULES)


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) == "nn"])
def test_nn_is_pure_mathematics(module):
    """Nothing of the package but nn, nothing from outside but NumPy; no files, processes or clocks."""
    assert all(room(name) == "nn" for name in own(module))
    outside = {name.split(".")[0] for name in imports_of(module)} - {"charrnn"}
    assert outside <= {"__future__", "numpy", "collections", "itertools", "typing", "math"}


@pytest.mark.parametrize("module", MODULES)
def test_every_outside_library_has_its_one_room(module):
    outside = {name.split(".")[0] for name in imports_of(module)} - {"charrnn"} - set(sys.stdlib_module_names)
    assert outside <= KNOWN
    assert {library for library in outside if LIBRARIES.get(library, room(module)) != room(module)} == set()


def test_the_libraries_that_have_a_room_are_used_in_it():
    """So that the test above cannot pass by reading no imports at all."""
    used = {(name.split(".")[0], room(module)) for module in MODULES for name in imports_of(module)}
    assert set(LIBRARIES.items()) | {("numpy", "nn")} <= used


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_over_300_lines(module):
    assert len(MODULES[module].read_text().splitlines()) <= 300
