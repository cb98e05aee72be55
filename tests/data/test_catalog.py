"""The catalogue: its entries, fetching them from a real server or a given folder, putting them together, and their facts."""

import hashlib
import io
import pickle
import tarfile
import zipfile
from dataclasses import replace
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from scipy import io as sio
from scipy import sparse

from scrutiny.core.dataset import Scale
from scrutiny.core.errors import InputError, MissingDependency
from scrutiny.data.assemble import POPULATIONS, scvi_pbmc
from scrutiny.data.catalog import Entry, catalog, entry, fetch, load, parse_entry
from scrutiny.data.census import Query, census
from scrutiny.data.download import Remote

ORIGINS = {"genotype", "sorted", "clustered", "transferred", "expert", "unknown"}
PAPER = {
    "pancreas": (14, 6),
    "pbmc_12k": (9, 2),
    "pbmc_95k": (10, 1),
    "immune": (45, 31),
    "tabula_sapiens": (24, 27),
}
"""Types and batches as printed in the zero-shot paper (doi:10.1186/s13059-025-03574-x, Additional file 1, Table S7)."""


def cells(n: int = 30) -> AnnData:
    counts = np.random.default_rng(0).poisson(1.0, (n, 5)).astype(np.float32)
    obs = pd.DataFrame({"kind": ["a", "b", "c"] * (n // 3), "run": ["r1", "r2"] * (n // 2)}, index=[f"cell{i}" for i in range(n)])
    adata = AnnData(sparse.csr_matrix(np.log1p(counts)), obs, pd.DataFrame(index=["CD3D", "CD4", "CD8A", "MS4A1", "NKG7"]))
    adata.layers["counts"] = sparse.csr_matrix(counts)
    return adata


@pytest.fixture(scope="module")
def h5ad(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("made") / "cells.h5ad"
    cells().write_h5ad(path)
    return path.read_bytes()


def an_entry(**changes) -> Entry:
    base = Entry(
        name="toy", title="A toy", page="http://toy", citation="Toy (2026)", licence="CC0", organism="human", label_origin="expert",
        labels="By hand.", roles={"label": "kind", "batch": "run"}, layer="counts", scale="counts",
    )  # fmt: skip
    return replace(base, **changes)


def served(server, name: str, content: bytes, checksum: str = "") -> Remote:
    return Remote(name, server.serve(name, content), checksum)


def test_every_entry_says_all_that_a_report_needs():
    for name, known in catalog().items():
        assert known.name == name
        assert known.files or known.query
        assert known.title and known.citation and known.licence and known.labels and known.page.startswith("https://")
        assert known.label_origin in ORIGINS
        assert "label" in known.roles
        assert all(remote.url.startswith("https://") for remote in known.files)
        assert all(exposure.source for exposure in known.pretraining.values())


def test_the_five_data_sets_of_the_zero_shot_paper_are_there_with_its_counts():
    assert {name: (entry(name).types, entry(name).batches) for name in PAPER} == PAPER
    assert {"aida_v2", "census_blood", "census_kidney"} <= set(catalog())


def test_what_the_zero_shot_paper_says_of_pretraining_stands_there():
    """Its section Datasets: Pancreas in part in Geneformer's data; Tabula Sapiens and Immune in scGPT's."""
    assert [n for n in PAPER if entry(n).exposure("geneformer_v1").answer == "seen"] == ["pancreas"]
    assert [n for n in PAPER if entry(n).exposure("scgpt").answer == "seen"] == ["immune", "tabula_sapiens"]


def test_the_page_on_data_names_every_entry_and_its_answers():
    page = (Path(__file__).parents[2] / "docs" / "DATA.md").read_text()
    for name, known in catalog().items():
        assert f"`{name}`" in page
        assert known.cells is None or f"{known.cells:,}" in page
        row = next(line for line in page.split("### Which models saw them")[1].splitlines() if name.split("_")[0] in line)
        assert known.exposure("scgpt").answer in row


def test_who_is_not_named_is_unknown():
    assert entry("pancreas").exposure("uce").answer == "unknown"
    assert entry("aida_v2").exposure("geneformer_v1").answer == "unknown"


@pytest.mark.parametrize(("wrong", "near"), [("Pancreas", "pancreas"), ("tabula-sapiens", "tabula_sapiens"), ("pbmc12k", "pbmc_12k")])
def test_a_miss_names_near_matches(wrong, near):
    with pytest.raises(InputError, match=near):
        entry(wrong)


def test_a_hopeless_miss_names_all():
    with pytest.raises(InputError, match="there is .*'aida_v2'.*'tabula_sapiens'"):
        entry("xyz")


def test_the_table_of_the_package_holds_no_unknown_keys():
    good = {
        "title": "t",
        "page": "p",
        "citation": "c",
        "licence": "l",
        "organism": "human",
        "roles": {},
        "label_origin": "x",
        "labels": "l",
    }
    assert parse_entry("toy", good).title == "t"
    with pytest.raises(InputError, match=r"unknown keys \['licens'\]"):
        parse_entry("toy", good | {"licens": "x"})
    with pytest.raises(InputError, match="'toy' is not complete: .*citation"):
        parse_entry("toy", {k: v for k, v in good.items() if k != "citation"})
    with pytest.raises(InputError, match=r"answers \['maybe'\]"):
        parse_entry("toy", good | {"pretraining": {"m": {"answer": "maybe"}}})
    assert files("scrutiny.data").joinpath("catalog.toml").is_file()


def test_a_file_is_fetched_once_and_loaded_with_roles_and_facts(server, tmp_path, h5ad):
    toy = an_entry(files=(served(server, "cells.h5ad", h5ad),), cells=31, notes=("It is a toy.",))
    data = load(toy, cache=tmp_path, progress=False)
    assert load(toy, cache=tmp_path, progress=False).fingerprint == data.fingerprint
    assert len(server.asked) == 1
    assert (data.name, data.scale, data.organism, data.n_cells) == ("toy", Scale.COUNTS, "human", 30)
    assert np.array_equal(data.values.toarray(), cells().layers["counts"].toarray())
    assert set(data.role("label")) == {"a", "b", "c"}
    assert data.facts["catalog"] == "toy"
    assert data.facts["label_origin"] == "expert"
    assert data.facts["source"] == "http://toy"
    assert data.notes[-2:] == ("It is a toy.", "31 cells were published, the file holds 30.")


def test_batches_that_count_as_one_are_merged(server, tmp_path, h5ad):
    toy = an_entry(files=(served(server, "cells.h5ad", h5ad),), merge_batches={"r1": "run", "r2": "run"})
    data = load(toy, cache=tmp_path, progress=False)
    assert set(data.role("batch")) == {"run"}
    assert set(data.obs["run"]) == {"r1", "r2"}


def test_a_zipped_file_is_unpacked(server, tmp_path, h5ad):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("cells.h5ad", h5ad)
    toy = an_entry(files=(replace(served(server, "cells.h5ad.zip", packed.getvalue()), member="cells.h5ad"),))
    path = fetch(toy, cache=tmp_path, progress=False)
    assert path == tmp_path / "toy" / "cells.h5ad"
    assert path.read_bytes() == h5ad
    (tmp_path / "toy" / "cells.h5ad.zip").unlink()  # 10 GB that nobody needs any more
    assert fetch(toy, cache=tmp_path, progress=False) == path
    assert len(server.asked) == 1


def test_a_folder_of_files_downloaded_by_hand_is_used_and_left_alone(server, tmp_path, h5ad):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "cells.h5ad").write_bytes(h5ad)
    toy = an_entry(files=(served(server, "cells.h5ad", h5ad, f"md5:{hashlib.md5(h5ad).hexdigest()}"),))
    assert load(toy, folder=tmp_path / "mine", cache=tmp_path / "cache").n_cells == 30
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["cells.h5ad"]
    assert not server.asked
    (tmp_path / "mine" / "cells.h5ad").write_bytes(h5ad[:-1])
    with pytest.raises(InputError, match="damaged or another version"):
        fetch(toy, folder=tmp_path / "mine")


def test_a_folder_that_lacks_the_file_says_which_and_from_where(server, tmp_path):
    with pytest.raises(InputError, match=r"holds no cells.h5ad, .* lacks cells.h5ad from http://127"):
        fetch(an_entry(files=(served(server, "cells.h5ad", b""),)), folder=tmp_path)
    with pytest.raises(InputError, match="holds no census_.*h5ad"):
        fetch("census_blood", folder=tmp_path)


def tenx(n_cells: int, seed: int, ids: list[str], first: int = 0) -> bytes:
    """A tar.gz as 10x Genomics packs it, of cells ``first`` and so on."""
    counts = sparse.coo_matrix(np.random.default_rng(seed).poisson(1.0, (len(ids), n_cells)))
    matrix = io.BytesIO()
    sio.mmwrite(matrix, counts, field="integer")
    parts = {
        "matrix.mtx": matrix.getvalue(),
        "genes.tsv": "".join(f"{i}\tG{n}\n" for n, i in enumerate(ids)).encode(),
        "barcodes.tsv": "".join(f"{barcode(i)}-1\n" for i in range(first, first + n_cells)).encode(),
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in parts.items():
            member = tarfile.TarInfo(f"filtered_matrices_mex/hg19/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def barcode(i: int) -> str:
    return "".join("ACGT"[(i >> (2 * k)) & 3] for k in range(8))


IDS = [f"ENSG{i:011d}" for i in range(1, 7)]


def test_sorted_populations_become_one_file_labelled_by_channel(server, tmp_path):
    parts = tuple(served(server, f"{p}.tar.gz", tenx(3 + i, i, IDS)) for i, p in enumerate(POPULATIONS))
    toy = replace(an_entry(files=parts, assemble="sorted_populations", layer=None), roles={"label": "cell_type"})
    data = load(toy, cache=tmp_path, progress=False)
    assert data.n_cells == sum(3 + i for i in range(10))
    assert dict(zip(*np.unique(data.role("label"), return_counts=True))) == {label: 3 + i for i, label in enumerate(POPULATIONS.values())}
    assert list(data.genes) == IDS
    assert data.values[:3].toarray().tolist() == np.random.default_rng(0).poisson(1.0, (6, 3)).T.tolist()
    assert fetch(toy, cache=tmp_path, progress=False) == tmp_path / "toy" / "toy.h5ad"
    assert len(server.asked) == 10


def test_populations_with_other_genes_or_broken_archives_are_refused(server, tmp_path):
    good = {p: tenx(3, 0, IDS) for p in POPULATIONS}
    for broken, message in ((tenx(3, 0, IDS[::-1]), "other genes"), (good["cd34"][:100], "not a whole tar.gz")):
        content = good | {"cd34": broken}
        parts = tuple(served(server, f"{p}.tar.gz", content[p]) for p in POPULATIONS)
        folder = tmp_path / message.replace(" ", "_")
        with pytest.raises(InputError, match=message):
            fetch(an_entry(files=parts, assemble="sorted_populations"), cache=folder, progress=False)
        assert not (folder / "toy" / "toy.h5ad").exists()


@pytest.mark.slow
def test_scvi_finds_the_files_where_we_put_them(tmp_path):
    """The layout and the columns that scvi.data.pbmc_dataset reads (scvi-tools 1.4), on made-up cells."""
    pytest.importorskip("scvi")
    rng = np.random.default_rng(0)
    names = [f"{barcode(i)}-1" for i in range(12)]
    keep = names[:4] + names[8:]
    table = pd.DataFrame(rng.normal(size=(8, 2)), index=keep)
    metadata = {
        "barcodes": pd.DataFrame(index=keep), "design": table, "raw_qc": table, "normalized_qc": table,
        "qc_pc": table.to_numpy(), "clusters": np.arange(8) % 2, "list_clusters": ["B", "T"],
    }  # fmt: skip
    (tmp_path / "pbmc_metadata.pickle").write_bytes(pickle.dumps(metadata))
    (tmp_path / "gene_info.csv").write_text("ENSG\n" + "\n".join(IDS[:4]) + "\n")
    (tmp_path / "pbmc8k.tar.gz").write_bytes(tenx(8, 0, IDS))
    (tmp_path / "pbmc4k.tar.gz").write_bytes(tenx(4, 1, IDS, first=8))
    adata = scvi_pbmc({p.name: p for p in tmp_path.iterdir()})
    adata.write_h5ad(tmp_path / "made.h5ad")
    assert read_h5ad(tmp_path / "made.h5ad").shape == (8, 4)
    assert list(adata.obs["str_labels"]) == ["B", "T"] * 4
    assert list(adata.obs["batch"]) == [0] * 4 + [1] * 4


def test_the_census_needs_its_package_only_to_be_asked(tmp_path):
    query = Query("tissue_general == 'blood'")
    if find_spec("cellxgene_census") is None:
        with pytest.raises(MissingDependency, match="pip install cellxgene_census"):
            census(query, cache=tmp_path)
    adata = cells()
    adata.X = adata.layers.pop("counts")
    adata.obs = adata.obs.rename(columns={"kind": "cell_type", "run": "dataset_id"}).assign(donor_id="d")
    adata.write_h5ad(tmp_path / query.file_name)
    data = census(query, cache=tmp_path)
    assert (data.scale, data.n_cells, set(data.role("batch"))) == (Scale.COUNTS, 30, {"r1", "r2"})


def test_a_query_is_told_apart_by_all_that_changes_its_cells():
    names = {Query("a").file_name, Query("b").file_name, Query("a", seed=1).file_name, Query("a", cells=5).file_name}
    assert len(names) == 4
    assert Query("a").file_name == Query("a").file_name


def test_cells_are_drawn_from_a_census_on_disk(tmp_path):
    """A Census of 30 cells made here, in the layout that cellxgene_census opens by its URI."""
    pytest.importorskip("cellxgene_census")
    soma = pytest.importorskip("tiledbsoma")
    import tiledbsoma.io

    adata = cells()
    adata.X = adata.layers.pop("counts")
    adata.obs = adata.obs.assign(dataset_id="d1", donor_id="p1", cell_type=adata.obs["kind"], cell_type_ontology_term_id="CL:0000000")
    adata.obs = adata.obs.assign(assay="10x", disease="normal", tissue="blood").reset_index(drop=True)
    adata.obs.index = adata.obs.index.astype(str)
    adata.var = pd.DataFrame({"feature_id": IDS[:5], "feature_name": list(adata.var_names)}, index=IDS[:5])
    uri = str(tmp_path / "census")
    soma.Collection.create(uri).close()
    with soma.Collection.open(uri, "w") as root:
        root.add_new_collection("census_data")
    tiledbsoma.io.from_anndata(f"{uri}/census_data/homo_sapiens", adata, measurement_name="RNA", X_layer_name="raw")
    with soma.Collection.open(f"{uri}/census_data", "w") as data:
        data["homo_sapiens"] = soma.Experiment.open(f"{uri}/census_data/homo_sapiens")
    query = Query("cell_type in ['a', 'b']", cells=8, uri=uri)
    drawn = census(query, cache=tmp_path / "cache")
    assert (drawn.n_cells, drawn.scale) == (8, Scale.COUNTS)
    assert set(drawn.role("label")) <= {"a", "b"}
    rows = [int(i) for i in drawn.cell_ids]
    assert np.array_equal(drawn.values.toarray(), adata.X[rows].toarray())
    assert list(drawn.genes) == IDS[:5]
    with pytest.raises(InputError, match="no human cell of the Census"):
        census(replace(query, value_filter="cell_type == 'none'"), cache=tmp_path / "cache")
    with pytest.raises(InputError, match="does not answer"):
        census(replace(query, value_filter="no such column =="), cache=tmp_path / "cache")
