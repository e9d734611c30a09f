"""The example notebook runs from its first cell to its last, in an empty folder."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT

NOTEBOOK = ROOT / "examples" / "first_study.ipynb"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")  # of Jupyter's own packages
def test_the_notebook_runs_and_its_export_trains_to_the_same_value(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # results are not committed
    NotebookClient(notebook, timeout=800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    cells = {cell.source.split("\n")[0]: cell for cell in notebook.cells if cell.cell_type == "code"}
    trained = cells['study.report("first.html")'].outputs[-1]["data"]["text/plain"]
    again, stored = (float(word) for word in trained.strip("()").split(", "))
    assert again == pytest.approx(stored, rel=1e-6)
    assert (tmp_path / "first.html").stat().st_size > 100_000
    assert "application/vnd.plotly.v1+json" in cells['study.figure("contributions")'].outputs[0]["data"]
