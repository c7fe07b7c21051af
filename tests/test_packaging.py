"""The wheel and the sdist: what they contain, and that an installed wheel works without this repository."""

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import charrnn

ROOT = Path(__file__).parents[1]
PACKAGED = {
    f"charrnn/{path.relative_to(ROOT / 'charrnn').as_posix()}"
    for path in (ROOT / "charrnn").rglob("*")
    if path.is_file() and path.suffix != ".pyc"
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The folder with the sdist, and the wheel that is built from the sdist."""
    pytest.importorskip("build", reason="the package `build` is not installed (pip install build)")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)], check=True, cwd=folder)
    return folder


def test_the_archives_contain_the_whole_package_and_its_version(archives):
    name = f"charrnn-{charrnn.__version__}"
    with zipfile.ZipFile(archives / f"{name}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
        metadata = wheel.read(f"{name}.dist-info/METADATA").decode()
    assert names >= PACKAGED
    assert "charrnn/py.typed" in names
    assert f"Version: {charrnn.__version__}" in metadata.splitlines()
    with tarfile.open(archives / f"{name}.tar.gz") as sdist:
        names = {member.name for member in sdist}
    assert {f"{name}/{path}" for path in PACKAGED | {"README.md", "LICENSE", "data/fables.txt"}} <= names


def test_the_first_commands_of_the_readme_run_from_an_installed_wheel(archives, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    folder = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    (wheel,) = archives.glob("*.whl")
    subprocess.run([folder / "python", "-m", "pip", "install", "-q", wheel], check=True)

    def run(*words):
        return subprocess.run([folder / "charrnn", *words], check=True, cwd=tmp_path, capture_output=True, text=True)

    run("train", str(ROOT / "data" / "fables.txt"), "--max-steps", "4", "--hidden-size", "8", "--workers", "2")
    assert len(run("sample", "--prime", "The Fox").stdout) > 300
    assert run("--version").stdout == f"charrnn {charrnn.__version__}\n"


def test_the_citation_has_the_version_of_the_package():
    assert f"\nversion: {charrnn.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
