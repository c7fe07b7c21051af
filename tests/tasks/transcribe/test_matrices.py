"""Matrices and records from files: formats, relative paths, and errors that name the file and the line."""

from pathlib import Path

import numpy as np
import pytest

from charrnn.errors import CorpusError
from charrnn.options import DataOptions
from charrnn.tasks.transcribe.matrices import read_matrices, read_matrix

VALUES = np.array([[1.5, -2.0], [0.0, 3.25], [1e-3, 7.0]])


def write_files(folder):
    """Files by name: valid ones with two columns, and invalid ones."""
    np.save(folder / "valid.npy", VALUES)
    np.save(folder / "integers.npy", VALUES.astype(np.int16))
    np.savetxt(folder / "valid.csv", VALUES, delimiter=",")
    np.save(folder / "wide.npy", np.zeros((2, 3)))
    np.save(folder / "no rows.npy", np.zeros((0, 2)))
    np.save(folder / "no columns.npy", np.zeros((2, 0)))
    np.save(folder / "nan.npy", np.array([[1.0, 2.0], [3.0, np.nan]]))
    np.save(folder / "vector.npy", np.zeros(2))
    np.save(folder / "images.npy", np.zeros((2, 3, 2)))
    np.save(folder / "pickled.npy", np.array([[1, None]], object), allow_pickle=True)
    np.save(folder / "texts.npy", np.array([["a", "b"]]))
    (folder / "truncated.npy").write_bytes((folder / "valid.npy").read_bytes()[:-3])
    (folder / "empty.csv").write_text("")
    (folder / "infinite.csv").write_text("1,2\n3,inf\n")
    (folder / "words.csv").write_text("a,b\n1,x\n")
    (folder / "ragged.csv").write_text("1,2\n3\n")
    (folder / "notes.txt").write_text("1,2\n")


INVALID = {
    "missing.npy": r"missing\.npy: No such file",
    "missing.csv": r"missing\.csv: No such file",
    "no rows.npy": r"no rows\.npy: not a matrix of numbers",
    "no columns.npy": r"no columns\.npy: not a matrix of numbers",
    "nan.npy": r"nan\.npy, row 2, column 2: not a finite number",
    "vector.npy": r"vector\.npy: not a matrix of numbers",
    "images.npy": r"images\.npy: not a matrix of numbers",
    "pickled.npy": r"pickled\.npy: not a plain array of numbers \(pickled objects are never read\)",
    "texts.npy": r"texts\.npy: not a matrix of numbers",
    "truncated.npy": r"truncated\.npy: not a plain array of numbers",
    "empty.csv": r"empty\.csv: no rows of numbers",
    "infinite.csv": r"infinite\.csv, line 2, column 2: inf is not a finite number",
    "words.csv": r"words\.csv, line 2, column 2: 'x' is not a number",
    "ragged.csv": r"ragged\.csv, line 2: 1 cell for 2 columns",
    "notes.txt": r"notes\.txt: must end in \.npy or \.csv",
}


def read(folder, text):
    (folder / "clips.tsv").write_text(text)
    return read_matrices([str(folder / "clips.tsv")], DataOptions(), [])


@pytest.mark.parametrize("name", ["valid.npy", "valid.csv", "integers.npy"])
def test_a_matrix_is_read(name, tmp_path):
    write_files(tmp_path)
    matrix = read_matrix(str(tmp_path / name))
    expected = VALUES.astype(np.int16) if name == "integers.npy" else VALUES
    np.testing.assert_array_equal(matrix.values, expected)
    assert str(matrix) == matrix.name == str(tmp_path / name)


def test_the_path_of_a_record_is_relative_to_its_file(tmp_path, monkeypatch):
    folder = tmp_path / "clips"
    folder.mkdir()
    write_files(folder)
    np.save(tmp_path / "above.npy", VALUES)
    monkeypatch.chdir(tmp_path)
    text = f"valid.npy\tone\n../above.npy\ttwo\n{folder / 'valid.csv'}\tthree\n"
    records = read(Path("clips"), text)
    assert [record.target for record in records] == ["one", "two", "three"]
    paths = [record.source.name for record in records]
    assert paths == ["clips/valid.npy", "clips/../above.npy", str(folder / "valid.csv")]
    for record in records:
        np.testing.assert_array_equal(record.source.values, VALUES)


@pytest.mark.parametrize("name", INVALID)
def test_the_error_for_an_invalid_matrix_names_its_file_and_the_line_of_the_record(name, tmp_path):
    write_files(tmp_path)
    with pytest.raises(CorpusError, match=INVALID[name]):
        read_matrix(str(tmp_path / name))
    with pytest.raises(CorpusError, match=rf"clips\.tsv, line 2: .*{INVALID[name]}"):
        read(tmp_path, f"valid.npy\ta\n{name}\tb\n")


def test_all_matrices_have_the_same_width(tmp_path):
    write_files(tmp_path)
    with pytest.raises(CorpusError, match=r"clips\.tsv, line 3: wide\.npy: 3 columns, but the first matrix has 2"):
        read(tmp_path, "valid.npy\ta\nvalid.csv\tb\nwide.npy\tc\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("valid.npy\ta\nvalid.npy b\n", "line 2: no tab"),
        ("valid.npy\ta\tb\n", "line 1: more than one tab"),
        ("valid.npy\t\n", "line 1: no output"),
        ("valid.npy\ta\n\tb\n", r"line 2: .* must end in \.npy or \.csv"),
    ],
)
def test_the_error_for_an_invalid_line_names_its_number(text, message, tmp_path):
    write_files(tmp_path)
    with pytest.raises(CorpusError, match=rf"clips\.tsv, {message}"):
        read(tmp_path, text)
