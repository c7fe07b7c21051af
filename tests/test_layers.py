"""The layers of the package: imports point downwards, and each third-party library belongs to one package."""

import ast
import functools
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "charrnn"
# From the bottom to the top. `charrnn` is charrnn/__init__.py. A module may import from the layers below its own, and
# from its own layer as long as no two modules import each other.
LAYERS = [
    *("system", "errors", "seeding", "fields", "options", "nn", "corpus", "models", "runs", "engines", "tasks"),
    *("training", "api", "charrnn", "analysis", "plots", "web", "sweep", "cli", "__main__"),
]
# The modules that may import a library, as prefixes of their names.
LIBRARIES = {
    "typer": ("charrnn.cli",),
    "rich": ("charrnn.cli",),
    "tqdm": ("charrnn.cli", "charrnn.api"),
    "safetensors": ("charrnn.runs",),
    "filelock": ("charrnn.system", "charrnn.sweep.locks"),
    "onnx": ("charrnn.runs",),
    "optuna": ("charrnn.sweep",),
    "sqlalchemy": ("charrnn.sweep",),
    "matplotlib": ("charrnn.plots",),
    "plotext": ("charrnn.plots",),
    "tensorboardX": ("charrnn.training.loggers",),
    "wandb": ("charrnn.training.loggers",),
    "mlflow": ("charrnn.training.loggers",),
    "torch": ("charrnn.engines", "charrnn.training.bench"),
}
EVERYWHERE = {"numpy", "threadpoolctl"}
SHARED = ("encoder_decoder",)  # a folder of charrnn/tasks that is used by several tasks
TASKS = sorted(
    path.name for path in (PACKAGE / "tasks").iterdir() if (path / "__init__.py").exists() and path.name not in SHARED
)
TASK_INDEPENDENT = ("nn", "corpus", "models", "runs", "engines", "training")
BENCH = "charrnn.training.bench"  # times a language model by default, so it may import that task


def list_modules():
    """Dotted name -> path of each module. The name of a package is that of its __init__.py."""
    modules = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


MODULES = list_modules()


@functools.cache
def parse(module):
    return ast.parse(MODULES[module].read_text())


@functools.cache
def imports(module):
    """The dotted names of all modules that a module imports, also inside functions."""
    names = set()
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                names.add(submodule if submodule in MODULES else node.module)
    return names


def own_imports(module):
    """The imported modules of this package."""
    return {name for name in imports(module) if name.split(".")[0] == "charrnn"}


def third_party_imports(module):
    """The imported libraries, without the standard library."""
    return {name.split(".")[0] for name in imports(module)} - {"charrnn"} - set(sys.stdlib_module_names)


def layer(module):
    """charrnn.nn.rnn -> nn; charrnn -> charrnn."""
    return module.split(".")[1] if "." in module else module


def task_folder(module):
    """charrnn.tasks.tag.coding -> tag; None for a module that is not in the folder of a task."""
    parts = module.split(".")
    return parts[2] if parts[1:2] == ["tasks"] and len(parts) > 2 and parts[2] in TASKS else None


def test_each_module_has_a_docstring():
    first_lines = {module: (ast.get_docstring(parse(module)) or "").split("\n")[0] for module in MODULES}
    assert [module for module, line in first_lines.items() if len(line) <= 15] == []


def test_each_package_is_a_layer():
    assert {layer(module) for module in MODULES} == set(LAYERS)


def test_imports_point_downwards():
    for module in MODULES:
        height = LAYERS.index(layer(module))
        assert {name for name in own_imports(module) if LAYERS.index(layer(name)) > height} == set(), module
        assert own_imports(module) <= set(MODULES), module


def test_no_modules_import_each_other_in_a_circle():
    visited = set()
    path = []

    def visit(module):
        assert module not in path, " -> ".join([*path, module])
        if module not in visited:
            path.append(module)
            for name in sorted(own_imports(module)):
                visit(name)
            path.pop()
            visited.add(module)

    for module in MODULES:
        visit(module)
    assert visited == set(MODULES)


def test_tasks_do_not_import_each_other():
    for module in filter(task_folder, MODULES):
        assert {task_folder(name) for name in own_imports(module)} <= {None, task_folder(module)}, module


def test_what_all_tasks_share_imports_no_task():
    for module in MODULES:
        if layer(module) in TASK_INDEPENDENT and module != BENCH:
            assert {task_folder(name) for name in own_imports(module)} <= {None}, module


def test_the_benchmark_imports_only_the_language_model():
    assert {task_folder(name) for name in own_imports(BENCH)} == {None, "language"}


def test_nn_imports_only_numpy():
    for module in MODULES:
        if layer(module) == "nn":
            assert all(layer(name) == "nn" for name in own_imports(module)), module
            top_level = {name.split(".")[0] for name in imports(module)} - {"charrnn"}
            assert top_level <= {"__future__", "numpy", "collections", "itertools", "typing", "math"}, module


def test_third_party_libraries_are_imported_only_where_they_belong():
    for module in MODULES:
        libraries = third_party_imports(module)
        assert libraries <= EVERYWHERE | set(LIBRARIES), module
        misplaced = {name for name in libraries - EVERYWHERE if not f"{module}.".startswith(_prefixes(name))}
        assert misplaced == set(), module


def test_each_library_is_imported_where_it_belongs():
    """Proves that the test above reads the imports at all."""
    for library, places in LIBRARIES.items():
        for place in places:
            modules = [module for module in MODULES if f"{module}.".startswith(f"{place}.")]
            assert any(library in third_party_imports(module) for module in modules), f"{library} in {place}"


def _prefixes(library):
    return tuple(f"{place}." for place in LIBRARIES[library])
