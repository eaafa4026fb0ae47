"""data/tour.ipynb runs from its first cell to its last, and lies in the repository without outputs."""

import json

import pytest

from tests.helpers.looking import link_arrays
from tests.helpers.places import REPOSITORY, SHIPPED
from tests.helpers.small_sample import small_sample

TOUR = REPOSITORY / "data/tour.ipynb"


def test_it_is_kept_without_outputs():
    cells = [cell for cell in json.loads(TOUR.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning")
def test_every_cell_runs(nursery, tmp_path_factory, here, monkeypatch):
    install = "is not installed; `pip install -e '.[notebook]'` does it"
    nbclient = pytest.importorskip("nbclient", reason=f"nbclient {install}")
    nbformat = pytest.importorskip("nbformat", reason=f"nbformat {install}")
    for name in ("ipykernel", "matplotlib", "pandas"):
        pytest.importorskip(name, reason=f"{name} {install}")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("IPYTHONDIR", str(here / "ipython"))
    link_arrays(small_sample(tmp_path_factory, nursery), here)
    notebook = nbformat.read(TOUR, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(here / "data")}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == len(SHIPPED)
    assert not [output for output in outputs if output["output_type"] == "error"]
