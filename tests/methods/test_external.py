"""External commands: real child processes that behave, misbehave, hang and lie about ids."""

import sys
import textwrap
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest

from scrutiny.core.errors import ContractError, InputError, Misaligned
from scrutiny.data.synth import planted
from scrutiny.methods.external import External

CELLS = planted(30, 12)

READ = """
import sys
import h5py, numpy as np
cells = h5py.File(sys.argv[1])
ids = cells["obs"][cells["obs"].attrs["_index"]].asstr()[:].astype(str)
x = cells["X"]
dense = np.zeros((30, 12))
for i in range(30):
    row = slice(x["indptr"][i], x["indptr"][i + 1])
    dense[i, x["indices"][row]] = x["data"][row]
values = np.log1p(dense[:, :4])

def write_table(path, rows, ids, head="abcd"):
    lines = [",".join([i, *map(str, row)]) for i, row in zip(ids, rows)]
    open(path, "w").write("\\n".join([",".join(["", *head]), *lines]))
"""


@pytest.fixture
def command(tmp_path):
    """A command that runs these lines after reading the cells."""

    def make(lines, *arguments):
        script = tmp_path / "embed.py"
        script.write_text(READ + textwrap.dedent(lines))
        return [sys.executable, str(script), *arguments]

    return make


def embedded(method):
    return method.fit(CELLS, seed=4).embed(CELLS.hide("label"))


def expected():
    return np.log1p(CELLS.values.toarray()[:, :4])


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        ("npz", "np.savez(sys.argv[2], cell_ids=ids[::-1], values=values[::-1])"),
        ("csv", "write_table(sys.argv[2], values[::-1], ids[::-1])"),
        ("parquet", "import pandas as pd\npd.DataFrame(values[::-1], ids[::-1], list('abcd')).to_parquet(sys.argv[2])"),
    ],
)
def test_rows_come_back_in_any_order_and_are_joined_by_id(command, output, lines):
    found = embedded(External(command(lines), output=output))
    np.testing.assert_allclose(found.aligned_to(CELLS.cell_ids).values, expected(), rtol=1e-6)


def test_the_command_sees_values_genes_and_batches_but_no_labels(command):
    lines = """
    import anndata
    cells = anndata.read_h5ad(sys.argv[1])
    assert list(cells.obs.columns) == ["batch"], cells.obs.columns
    assert cells.uns["scale"] == "counts" and cells.uns["organism"] == "unknown"
    assert cells.shape == (30, 12) and cells.var_names[0] == "gene_00000"
    np.savez(sys.argv[2], cell_ids=ids, values=values)
    """
    embedded(External(command(lines)))


def test_places_are_filled_in_and_no_shell_reads_the_command(command):
    lines = """
    assert sys.argv[3:] == ["--seed=4", "$HOME; touch /nowhere | true"], sys.argv
    np.savez(sys.argv[2], cell_ids=ids, values=values)
    """
    embedded(External(command(lines, "{input}", "{output}", "--seed={seed}", "$HOME; touch /nowhere | true")))


def test_a_failure_quotes_the_last_words(command):
    with pytest.raises(ContractError, match=r"failed with status 1; its last words:\n(.*\n)*ValueError: no weights in here"):
        embedded(External(command("raise ValueError('no weights in here')")))


def test_a_command_that_hangs_is_ended_with_all_that_it_started(command, tmp_path):
    lines = f"""
    import subprocess, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
    time.sleep(600)
    """
    started = time.monotonic()
    with pytest.raises(ContractError, match="was ended after 3 s"):
        embedded(External(command(lines), timeout=3))
    assert time.monotonic() - started < 60
    child = int((tmp_path / "child").read_text())
    time.sleep(0.2)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("output", "lines", "error", "words"),
    [
        ("npz", "pass", ContractError, "did not write embedding.npz"),
        ("npz", "np.savez(sys.argv[2], values=values)", ContractError, r"without \['cell_ids'\]"),
        ("npz", "np.savez(sys.argv[2], cell_ids=ids[:-1], values=values[:-1])", Misaligned, "1 of the asked cells are missing"),
        ("csv", "write_table(sys.argv[2], values, map(str, range(30)))", Misaligned, "30 of the asked cells are missing"),
        ("csv", "write_table(sys.argv[2], ids[:, None], map(str, range(30)), ['id'])", ContractError, r"\['id'\].*hold no numbers"),
        ("npz", "values[0] = np.nan\nnp.savez(sys.argv[2], cell_ids=ids, values=values)", ContractError, "1 of 30 cells"),
    ],
)
def test_what_is_not_an_embedding_of_these_cells_is_refused(command, output, lines, error, words):
    """A table whose index column is the row number would put the row number among the features."""
    with pytest.raises(error, match=words):
        embedded(External(command(lines), output=output)).aligned_to(CELLS.cell_ids)


def test_ids_that_look_like_numbers_stay_text(command):
    numbered = planted(30, 12)
    ids = [f"{i:04d}" for i in range(30)]
    numbered = replace(numbered, obs=numbered.obs.set_axis(ids))
    method = External(command("write_table(sys.argv[2], values, ids)"), output="csv")
    found = method.fit(numbered, seed=0).embed(numbered)
    assert found.cell_ids.tolist() == ids


def test_an_npz_with_pickled_objects_is_not_opened(command):
    with pytest.raises(ContractError, match="cannot be read.*allow_pickle"):
        embedded(External(command("np.savez(sys.argv[2], cell_ids=ids.astype(object), values=values)")))


def test_options_are_checked_at_once():
    with pytest.raises(InputError, match="list of a program"):
        External("python embed.py")
    with pytest.raises(InputError, match="can write"):
        External(["true"], output="h5ad")
    with pytest.raises(ContractError, match="cannot be started"):
        embedded(External(["no-such-program-here"]))
