"""The tour of the Python interface, a notebook, runs in a Jupyter kernel."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOUR = Path(__file__).with_name("tour.ipynb")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The outputs of the code cells: lists of (kind, data)."""
    for name in ("nbclient", "nbformat", "ipykernel", "pandas"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install '.[dev]'")
    import nbclient
    import nbformat

    notebook = nbformat.read(TOUR, as_version=4)
    folder = tmp_path_factory.mktemp("tour")
    client = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}})
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.delenv("CHARRNN_RUNS", raising=False)
        client.execute()
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cell):
    """All plain text that a cell has printed or shown."""
    return "".join(output.get("text", "") or output.data.get("text/plain", "") for output in cell)


def test_the_tour_shows_what_it_says(outputs):
    trained, sampled, stopped, continued, predicted, forecast, runs, error = outputs
    html = "".join(output.data.get("text/html", "") for output in trained if "data" in output)
    assert "best validation loss" in html
    assert html.count("<polyline") == 2
    assert "step 60" in text_of(trained)
    assert "'bpc'" in text_of(sampled)
    assert "interrupted, step 20" in text_of(stopped)
    assert text_of(continued) == "completed 40\n"
    assert text_of(predicted).count("'label'") == 2
    assert "trend" in text_of(forecast)
    assert text_of(runs).count("completed") == 4
    assert text_of(error) == "2 --hidden-size 0: must be at least 1\n"


def test_the_tour_has_no_outputs_in_the_repository():
    assert '"outputs": []' in TOUR.read_text()
    assert '"output_type"' not in TOUR.read_text()
