"""Gene identity on real files and on hand-sized cases: kinds of ids, one id per gene, sums, orthologues, vocabularies."""

import pickle

import numpy as np
import pandas as pd
import pytest
from anndata import read_h5ad
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scrutiny.core.dataset import Dataset, Scale, from_arrays
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.matrix import CsrMatrix
from scrutiny.data.genebook import strip_versions
from scrutiny.data.genes import IdKind, SummedColumns, identify, map_genes, overlap, resolve, sum_genes, to_human
from scrutiny.data.genetables import TABLES, gene_table, orthologues

REAL = {
    "beeline_mdc_500": ("mouse", 0),
    "ccle_expr_706": ("human", 0),
    "kang_ifnb": ("human", 0),
    "pancreas_3tech_beta_ductal": ("human", 0),
    "pancreas_baron_human_mouse": ("human", 0),
    "pbmc3k": ("human", 4),
    "pbmc68k_reduced": ("human", 0),
    "pbmc_3chem_symphony": ("human", 0),
    "pbmc_3chem_unlabelled": ("human", 0),
    "pbmc_multistudy": ("human", 0),
    "perturb_norman19_mcfaline23": ("human", 0),
    "sc_mixology": ("human", 0),
    "zheng_facs": ("human", 1),
}
"""File -> organism of its gene names (SOURCES.md; Baron's mouse genes stand under the human symbol) and ids that differ by case only."""

TABLE = pd.DataFrame(
    {
        "ensembl_id": ["ENSG00000000003", "ENSG00000000419.14", "ENSG00000000457", "ENSG00000285458", "ENSG00000163633"],
        "symbol": ["TSPAN6", "DPM1", "SCYL3", "C4orf36", "C4orf36"],
        "synonyms": ["T245|TM4SF6", "MPDS", "PACE1|T245", "", ""],
    }
)


def dataset(genes, counts=None, **more) -> Dataset:
    counts = np.arange(1, 2 * len(genes) + 1).reshape(2, -1) if counts is None else counts
    return from_arrays("toy", counts, pd.DataFrame(index=["c1", "c2"]), genes, **more)


def real(shared_data, name: str) -> Dataset:
    adata = read_h5ad(shared_data / f"{name}.h5ad")
    return Dataset(name, CsrMatrix(adata.X), adata.obs[[]], adata.var, scale=Scale.NORMALISED)


@pytest.fixture(scope="module")
def human(shared_data) -> pd.DataFrame:
    return gene_table(shared_data / "genes_human.tsv.gz")


@pytest.fixture(scope="module")
def mouse(shared_data) -> pd.DataFrame:
    return gene_table(shared_data / "genes_mouse.tsv.gz")


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_told_by_their_gene_names(shared_data, name):
    var = read_h5ad(shared_data / f"{name}.h5ad", backed="r").var
    report = identify(dataset(var.index))
    assert (report.organism, len(report.clashes)) == REAL[name]
    assert report.kind is (IdKind.MIXED if name == "sc_mixology" else IdKind.SYMBOL)
    assert report.n_genes == len(var)
    assert report.n_versioned == 0


@pytest.mark.parametrize("name", [n for n, (organism, _) in REAL.items() if organism == "human"])
def test_real_files_keep_their_totals_under_one_id_per_gene(shared_data, human, name):
    data = real(shared_data, name)
    mapped = map_genes(data, human)
    assert np.allclose(mapped.values.sum(axis=1), data.values.sum(axis=1), rtol=1e-6)
    assert mapped.n_genes <= data.n_genes
    assert (mapped.var["ensembl_id"] == mapped.genes)[mapped.var["ensembl_id"] != ""].all()
    assert (mapped.var["symbol"] != "").mean() > (0.92 if name in ("pbmc3k", "pbmc_3chem_symphony") else 0.95)


def test_under_symbols_more_columns_are_summed_and_totals_stay(shared_data, human):
    data = real(shared_data, "pbmc_3chem_symphony")
    mapped = map_genes(data, human, to="symbol")
    assert mapped.n_genes < data.n_genes
    assert np.allclose(mapped.values.sum(axis=1), data.values.sum(axis=1), rtol=1e-6)


def test_the_ensembl_ids_that_files_give_are_what_their_symbols_resolve_to(shared_data, human):
    """An independent check: the ids in these files were made by others from other tables."""
    var = read_h5ad(shared_data / "pbmc_3chem_unlabelled.h5ad", backed="r").var
    by_symbol = resolve(dataset(var.index), human)
    both = (by_symbol != "") & (var["ensembl_id"] != "").to_numpy()
    assert both.mean() > 0.95
    assert (by_symbol[both] == var["ensembl_id"].to_numpy(str)[both]).mean() > 0.995


def test_a_real_matrix_under_versioned_ids_comes_back_the_same(shared_data, human):
    data = real(shared_data, "pancreas_3tech_beta_ductal")
    ids = data.var["ensembl_id"].to_numpy(str)
    versioned = Dataset(
        "v", data.matrix, data.obs, pd.DataFrame(index=[f"{g}.{i % 20 + 1}" for i, g in enumerate(ids)]), scale=Scale.NORMALISED
    )
    report = identify(versioned)
    assert (report.kind, report.organism, report.n_versioned) == (IdKind.ENSEMBL, "human", len(ids))
    assert "carry a version" in report.findings[0]
    mapped = map_genes(versioned, human)
    assert list(mapped.genes) == list(ids)
    assert mapped.matrix.digest == data.matrix.digest


def test_mouse_ids_and_mouse_symbols_are_told(mouse):
    assert identify(dataset(mouse["ensembl_id"][:100])).organism == "mouse"
    assert identify(dataset(mouse["symbol"].drop_duplicates()[:2000])).organism == "mouse"
    shared_names = mouse["symbol"][mouse["symbol"].str.match(r"^[A-Z][a-z]{2}\d?$")].drop_duplicates()[:200]
    assert identify(dataset(shared_names)).organism == "mouse"  # by case alone
    assert identify(dataset(shared_names.str.upper())).organism == "human"


@pytest.mark.parametrize(
    "genes", [[f"gene{i}" for i in range(100)], [f"Gene{i}" for i in range(100)], ["CD3D", "CD4"], [str(i) for i in range(50)]]
)
def test_names_that_say_nothing_are_not_guessed(genes):
    assert identify(dataset(genes)).organism == "unknown"


def test_other_ensembl_organisms_are_named():
    assert identify(dataset(["ENSRNOG00000000001.2", "ENSRNOG00000000007"])).organism == "rat"
    assert identify(dataset(["ENSGALG00000000003", "ENSGALG00000000011"])).organism == "Ensembl ENSGALG"


def test_findings_name_what_is_odd():
    genes = ["ENSG00000000003.15", "ENSG00000000003.14", "ENSG00000000419"]
    report = identify(dataset(genes, organism="mouse"))
    assert report.clashes == ("ENSG00000000003.14",)
    assert [f.split()[0:3] for f in report.findings] == [["2", "Ensembl", "ids"], ["1", "genes", "are"], ["the", "gene", "ids"]]
    assert "look like human, but the data are declared as mouse" in report.findings[2]


def test_versions_and_the_mark_of_the_y_chromosome_go():
    ids = ["ENSG00000182378.15_PAR_Y", "ensmusg00000051951.6", "ENSG00000000003", "CD3D", "RP11-34P13.7", ""]
    assert list(strip_versions(ids)) == ["ENSG00000182378", "ENSMUSG00000051951", "ENSG00000000003", "CD3D", "RP11-34P13.7", ""]


def test_spellings_of_one_gene_are_resolved_by_rule():
    genes = ["TSPAN6", "dpm1", "PACE1", "T245", "ENSG00000000457.3", "C4ORF36", "NOTHING"]
    expected = ["ENSG00000000003", "ENSG00000000419", "ENSG00000000457", "", "ENSG00000000457", "ENSG00000163633", ""]
    assert list(resolve(dataset(genes), TABLE)) == expected  # T245 is a synonym of two genes; C4orf36 stands for its lowest id
    assert list(resolve(dataset(genes), TABLE, to="symbol")) == ["TSPAN6", "DPM1", "SCYL3", "", "SCYL3", "C4orf36", ""]


def test_columns_of_one_gene_are_summed_and_the_notes_tell_it():
    data = dataset(["TSPAN6", "NOTHING", "ENSG00000000003.1", "DPM1"], np.array([[1, 2, 3, 4], [5, 6, 7, 8]]))
    mapped = map_genes(data, TABLE)
    assert list(mapped.genes) == ["ENSG00000000003", "NOTHING", "ENSG00000000419"]
    assert mapped.values.toarray().tolist() == [[4, 2, 4], [12, 6, 8]]
    assert mapped.var["symbol"].tolist() == ["TSPAN6", "", "DPM1"]
    assert mapped.notes == (
        "1 of 4 genes are not in the gene table and keep their id.",
        "1 columns were summed into others of the same gene.",
    )
    assert list(map_genes(data, TABLE, keep_unmapped=False).genes) == ["ENSG00000000003", "ENSG00000000419"]
    assert data.values.toarray().tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_the_id_a_file_gives_is_believed_before_its_symbol():
    data = dataset(["DPM1", "SCYL3"])
    var = data.var.assign(ensembl_id=["ENSG00000000003.4", ""])
    assert list(resolve(Dataset("x", data.matrix, data.obs, var), TABLE)) == ["ENSG00000000003", "ENSG00000000457"]


def test_logged_and_scaled_values_are_never_summed():
    genes = ["TSPAN6", "ENSG00000000003.1"]
    for scale in (Scale.LOG, Scale.SCALED):
        with pytest.raises(NotApplicable, match=f"1 columns of the same gene; {scale} values cannot be summed"):
            map_genes(dataset(genes, scale=scale), TABLE)
        assert map_genes(dataset(["TSPAN6", "DPM1"], scale=scale), TABLE).n_genes == 2
    assert map_genes(dataset(genes, scale=Scale.NORMALISED), TABLE).n_genes == 1


def test_a_table_of_another_organism_is_refused(shared_data, human, mouse):
    data = real(shared_data, "beeline_mdc_500")
    with pytest.raises(InputError, match="has mouse genes, the gene table is human"):
        map_genes(data, human)
    assert (resolve(data, mouse) != "").mean() > 0.9


def test_a_table_without_the_columns_is_refused():
    with pytest.raises(InputError, match="needs the columns ensembl_id and symbol"):
        map_genes(dataset(["A"]), pd.DataFrame({"gene": ["A"]}))


def test_mouse_genes_become_human_ones_by_rule():
    pairs = pd.DataFrame(
        [("CD3D", "Cd3d"), ("ACOT1", "Acot1"), ("ACOT2", "Acot1"), ("HBA1", "Hba-a1"), ("HBA1", "Hba-a2"), ("X1", "Amb"), ("X2", "Amb")],
        columns=["human_symbol", "mouse_symbol"],
    )
    data = dataset(["Cd3d", "Acot1", "Hba-a1", "Hba-a2", "Amb", "Xkr4"], organism="mouse")
    mapped = to_human(data, pairs)
    assert list(mapped.genes) == ["CD3D", "ACOT1", "HBA1"]
    assert mapped.values.toarray().tolist() == [[1, 2, 3 + 4], [7, 8, 9 + 10]]
    assert mapped.organism == "human"
    assert mapped.notes[0] == "4 of 6 mouse genes were mapped to human orthologues; the others were left out."
    with pytest.raises(InputError, match="has a human orthologue in the table; are they mouse symbols"):
        to_human(dataset(["foo", "bar"]), pairs)
    with pytest.raises(InputError, match="has Ensembl ids; map_genes"):
        to_human(dataset(["ENSMUSG00000051951"]), pairs)


@pytest.mark.parametrize("name", ["orthologs_human_mouse_ensembl105", "orthologs_human_mouse_homologene"])
def test_real_mouse_cells_get_human_genes(shared_data, name):
    """Upper-case mouse symbols of BEELINE: most have an orthologue, and most of those bear the same name."""
    data = real(shared_data, "beeline_mdc_500")
    mapped = to_human(data, orthologues(shared_data / f"{name}.tsv.gz"))
    assert 0.75 < mapped.n_genes / data.n_genes < 1
    assert np.isin(mapped.genes, data.genes).mean() > 0.85


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_sums_preserve_every_cell_s_total_and_agree_with_a_loop(draw):
    n_cells, n_genes = draw.draw(st.integers(1, 6)), draw.draw(st.integers(1, 8))
    counts = np.array(draw.draw(st.lists(st.integers(0, 1000), min_size=n_cells * n_genes, max_size=n_cells * n_genes))).reshape(
        n_cells, -1
    )
    target = draw.draw(st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=n_genes, max_size=n_genes))
    data = from_arrays("x", counts, pd.DataFrame(index=[f"c{i}" for i in range(n_cells)]), [f"g{i}" for i in range(n_genes)])
    summed = sum_genes(data, target)
    expected = {t: counts[:, [i for i, name in enumerate(target) if name == t]].sum(axis=1) for t in dict.fromkeys(target) if t}
    assert list(summed.genes) == list(expected)
    for i, name in enumerate(summed.genes):
        assert np.array_equal(summed.values.toarray()[:, i], expected[name])
    kept = [i for i, name in enumerate(target) if name]
    assert np.array_equal(summed.values.toarray().sum(axis=1), counts[:, kept].sum(axis=1))


def test_a_summed_matrix_keeps_the_promises_of_a_matrix():
    rng = np.random.default_rng(0)
    values = sparse.random(50, 12, 0.3, format="csr", random_state=1, data_rvs=lambda n: rng.integers(1, 9, n)).astype(np.float32)
    placed = sparse.csr_matrix((np.ones(12, np.float32), (np.arange(12), np.arange(12) % 5)), shape=(12, 5))
    summed, plain = SummedColumns(CsrMatrix(values), placed), CsrMatrix(values @ placed)
    assert (summed.shape, summed.nnz, summed.digest) == (plain.shape, plain.nnz, plain.digest)
    assert np.array_equal(summed.to_csr().toarray(), plain.to_csr().toarray())
    assert [c.start for c in summed.chunks(20)] == [0, 20, 40]
    assert all(c.values.has_sorted_indices and c.values.dtype == np.float32 for c in summed.chunks(20))
    rows, columns = np.array([7, 3, 3]), np.array([4, 0])
    assert summed.take_rows(rows).digest == plain.take_rows(rows).digest
    assert summed.take_columns(columns).digest == plain.take_columns(columns).digest
    assert pickle.loads(pickle.dumps(summed)).digest == plain.digest


def test_overlap_takes_the_ids_that_match_best():
    data = dataset(["Tspan6", "DPM1", "X"])
    data = Dataset("x", data.matrix, data.obs, data.var.assign(ensembl_id=["ENSG00000000003.1", "ENSG00000000419", ""]))
    by_symbol = overlap(data, ["TSPAN6", "DPM1", "SCYL3", "C4orf36"])
    assert (by_symbol.n_found, by_symbol.spelling, by_symbol.n_ignoring_case, by_symbol.unknown) == (1, "index", 2, ("Tspan6", "X"))
    assert (by_symbol.share, by_symbol.coverage) == (1 / 3, 1 / 4)
    assert overlap(data, TABLE["ensembl_id"].str[:15]).spelling == "ensembl_id"
    assert overlap(data, ["nothing"]).share == 0
    assert overlap(data, []).coverage == 0


def test_overlap_with_the_vocabularies_of_published_models(shared, shared_data):
    import json

    vocabulary = json.loads((shared / "reference-data" / "scgpt" / "default_census_vocab.json").read_text())
    pbmc = real(shared_data, "pbmc68k_reduced")
    assert overlap(pbmc, vocabulary).share > 0.9
    mouse_symbols = dataset([g.capitalize() for g in pbmc.genes])
    found = overlap(mouse_symbols, vocabulary)
    assert found.share < 0.05 and found.n_ignoring_case > 0.9 * pbmc.n_genes


def test_tables_are_read_in_the_formats_of_their_publishers(tmp_path):
    (tmp_path / "gencode.csv").write_text("ENSG00000000003,TSPAN6,16,2396,protein_coding\nENSG00000000005,TNMD,6,873,protein_coding\n")
    (tmp_path / "hgnc.txt").write_text(
        "hgnc_id\tsymbol\tprev_symbol\talias_symbol\tensembl_gene_id\nHGNC:1\tTSPAN6\tTM4SF6\tT245|X\tENSG00000000003\n"
    )
    (tmp_path / "celltypist.csv").write_text("MT-ND1,mt-Nd1\nMT-TI,\n,Prodh\n")
    (tmp_path / "ours.tsv").write_text("human_symbol\tmouse_symbol\nNA\tNa\n")
    assert gene_table(tmp_path / "gencode.csv")[["ensembl_id", "symbol"]].to_numpy().tolist()[1] == ["ENSG00000000005", "TNMD"]
    assert gene_table(tmp_path / "hgnc.txt")[["ensembl_id", "synonyms"]].to_numpy().tolist() == [["ENSG00000000003", "TM4SF6|T245|X"]]
    assert orthologues(tmp_path / "celltypist.csv").to_numpy().tolist() == [["MT-ND1", "mt-Nd1"]]
    assert orthologues(tmp_path / "ours.tsv").to_numpy().tolist() == [["NA", "Na"]]
    with pytest.raises(InputError, match="needs the columns"):
        orthologues(tmp_path / "hgnc.txt")
    with pytest.raises(InputError, match="there is no file .*one of"):
        gene_table("humans")


def test_an_official_table_is_downloaded_once(server, tmp_path, monkeypatch):
    from scrutiny.data.download import Remote

    monkeypatch.setitem(TABLES, "human", Remote("genes.csv", server.serve("genes", b"ENSG00000000003,TSPAN6,16,2396,protein_coding\n")))
    for _ in range(2):
        assert gene_table("human", cache=tmp_path)["symbol"].tolist() == ["TSPAN6"]
    assert len(server.asked) == 1
