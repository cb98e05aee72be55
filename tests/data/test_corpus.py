"""From files to a corpus: what gets in, where it goes, and that a build that was stopped loses and doubles nothing."""

import json
import shutil

import anndata
import numpy as np
import pandas as pd
import pytest
from corpus_files import IDS, N_GENES, config, poisson, write
from hypothesis import given, settings
from hypothesis import strategies as st

from scrutiny.core.errors import InputError
from scrutiny.data.corpus import Corpus
from scrutiny.data.corpus_build import build_corpus
from scrutiny.data.read import read


def cells_of(corpus, shards=None):
    """All cells as one table of counts, indexed by cell id, with the columns of obs."""
    parts = [corpus.read(shard) for shard in (shards or [*corpus.train, *corpus.validation])]
    counts = pd.concat([pd.DataFrame(part.values.toarray(), part.obs.index, part.var.index) for part in parts])
    return counts, pd.concat([part.obs.astype({"total": float}) for part in parts])


def left_out(corpus, file):
    return corpus.manifest["files"][file]["left_out"]


@pytest.fixture
def two(tmp_path):
    """Two files that share 40 of 60 genes, the second without its first 20."""
    a, b = poisson(50, 0), poisson(30, 1)
    obs = {"cell_type": ["T", "B"] * 25, "donor": ["d1"] * 20 + ["d2"] * 30}
    write(tmp_path / "a.h5ad", a, obs=obs, license="CC0", citation="Somebody")
    write(tmp_path / "b.h5ad", b[:, 20:], np.arange(20, N_GENES))
    return tmp_path


def test_every_cell_is_in_one_shard_with_its_counts(two, tmp_path):
    corpus = build_corpus(config(two, "a.h5ad", "b.h5ad"), tmp_path / "out")
    counts, obs = cells_of(corpus)
    assert counts.index.is_unique and len(counts) == corpus.n_cells == 80
    assert corpus.genes.index.tolist() == sorted(IDS)
    a = pd.DataFrame(poisson(50, 0), [f"a:c{i}" for i in range(50)], IDS)
    b = pd.DataFrame(poisson(30, 1), [f"b:c{i}" for i in range(30)], IDS)
    b.iloc[:, :20] = 0
    expected = pd.concat([a, b])
    pd.testing.assert_frame_equal(counts.loc[expected.index, IDS], expected, check_names=False, check_dtype=False)
    assert obs.loc["a:c1", ["study", "file", "label", "ontology"]].tolist() == ["a", "a", "B", ""]
    np.testing.assert_allclose(obs.loc[expected.index, "total"], np.r_[a.sum(axis=1), b.sum(axis=1)])
    assert corpus.measured("a").all() and corpus.measured("b").tolist() == [i >= 20 for i in range(N_GENES)]


def test_the_genes_tell_in_how_many_cells_they_are_and_were_measured(two, tmp_path):
    corpus = build_corpus(config(two, "a.h5ad", "b.h5ad"), tmp_path / "out")
    a, b = poisson(50, 0), poisson(30, 1)
    genes = corpus.genes.loc[IDS]
    assert genes["n_measured"].tolist() == [50] * 20 + [80] * 40
    assert genes["n_cells"].tolist() == ((a > 0).sum(axis=0) + np.r_[np.zeros(20), (b > 0).sum(axis=0)[20:]]).astype(int).tolist()
    values = (a[:, 3] / a.sum(axis=1) * 10_000)[a[:, 3] > 0]
    assert genes["median"].iloc[3] == pytest.approx(np.quantile(values, 0.5, method="inverted_cdf"), rel=0.005)
    pd.testing.assert_frame_equal(corpus.read(corpus.train[0]).var, corpus.genes)


def test_a_total_counts_genes_that_the_corpus_does_not_have(two, tmp_path):
    corpus = build_corpus(config(two, "a.h5ad", genes=10), tmp_path / "out")
    _, obs = cells_of(corpus)
    assert len(corpus.genes) == 10 and obs.loc["a:c0", "total"] == poisson(50, 0)[0].sum()


def test_the_manifest_says_where_cells_come_from(two, tmp_path):
    corpus = build_corpus(config(two, {"path": "a.h5ad", "studies": "donor"}, "b.h5ad"), tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    a = manifest["files"]["a"]
    assert (a["licence"], a["citation"], a["organism"], a["file"]) == ("CC0", "Somebody", "human", "a.h5ad")
    assert a["bytes"] == (two / "a.h5ad").stat().st_size and len(a["sha256"]) == 64
    assert {study: counts["kept"] for study, counts in a["studies"].items()} == {"d1": 20, "d2": 30}
    assert manifest["cells"]["train"] + manifest["cells"]["validation"] == manifest["cells"]["read"] == 80
    assert manifest["cells"]["validation"] == sum(corpus.read(shard).n_cells for shard in corpus.validation) > 0
    assert str(tmp_path) not in json.dumps(manifest)


def test_shards_are_of_like_size_and_in_an_order_that_files_play_no_part_in(two, tmp_path):
    one = build_corpus(config(two, "a.h5ad", "b.h5ad"), tmp_path / "one")
    other = build_corpus(config(two, "b.h5ad", "a.h5ad"), tmp_path / "other")
    assert one.train == other.train and len(one.train) == 4 and len(one.validation) == 1
    sizes = [one.read(shard).n_cells for shard in one.train]
    assert max(sizes) - min(sizes) <= 1
    for shard in one.train:
        assert one.read(shard).obs.index.tolist() == other.read(shard).obs.index.tolist()
    files = one.read(one.train[0]).obs["file"].tolist()
    assert files not in (sorted(files), sorted(files, reverse=True)) and set(files) == {"a", "b"}
    reseeded = build_corpus(config(two, "a.h5ad", "b.h5ad", seed=1), tmp_path / "reseeded")
    assert reseeded.read(reseeded.train[0]).obs.index.tolist() != one.read(one.train[0]).obs.index.tolist()


def test_a_cell_keeps_its_side_when_the_corpus_grows(two, tmp_path):
    small = build_corpus(config(two, "a.h5ad"), tmp_path / "small")
    large = build_corpus(config(two, "a.h5ad", "b.h5ad"), tmp_path / "large")
    held = set(cells_of(small, small.validation)[1].index)
    assert held and held == {cell for cell in cells_of(large, large.validation)[1].index if cell.startswith("a:")}


def test_no_validation_is_wanted(two, tmp_path):
    corpus = build_corpus(config(two, "a.h5ad", validation=0.0), tmp_path / "out")
    assert corpus.validation == [] and corpus.manifest["cells"]["train"] == 50


def test_poor_cells_are_left_out_for_the_first_reason_that_holds(tmp_path):
    counts = poisson(8, 0, rate=3.0)
    counts[0, 5:] = 0
    counts[1] = np.minimum(counts[1], 1)
    counts[2, 0] = 1000
    write(tmp_path / "a.h5ad", counts)
    adata = anndata.read_h5ad(tmp_path / "a.h5ad")
    adata.var["symbol"] = ["mt-Nd1", *adata.var["symbol"][1:]]
    adata.write_h5ad(tmp_path / "a.h5ad")
    corpus = build_corpus(config(tmp_path, "a.h5ad", min_genes=10, min_counts=100, max_mito=0.5), tmp_path / "out")
    assert left_out(corpus, "a") == {
        "express fewer than 10 genes": 1,
        "hold fewer than 100 counts": 1,
        "have more than 50% mitochondrial counts": 1,
    }
    assert corpus.n_cells == 5


def test_cells_without_a_gene_of_the_corpus_are_told(tmp_path):
    counts = poisson(20, 0)
    counts[3, :30] = 0
    write(tmp_path / "a.h5ad", counts)
    (tmp_path / "genes.txt").write_text("\n".join(IDS[:30]))
    corpus = build_corpus(config(tmp_path, "a.h5ad", genes="genes.txt"), tmp_path / "out")
    assert left_out(corpus, "a") == {"express no gene of the corpus": 1} and corpus.n_cells == 19


# Duplicates -----------------------------------------------------------------------------------------------------------------------


def test_the_first_file_keeps_a_cell_that_another_has_on_fewer_genes(tmp_path):
    a = poisson(20, 0)
    b = np.vstack([a[[3, 7]], poisson(5, 1)])
    b[1, :10] += 1  # differs from a[7] only on genes that b.h5ad does not list
    write(tmp_path / "a.h5ad", a)
    write(tmp_path / "b.h5ad", b[:, 10:], np.arange(10, N_GENES))
    forth = build_corpus(config(tmp_path, "a.h5ad", "b.h5ad"), tmp_path / "forth")
    back = build_corpus(config(tmp_path, "b.h5ad", "a.h5ad"), tmp_path / "back")
    assert (left_out(forth, "a"), left_out(forth, "b")) == ({}, {"equal a cell of a": 2})
    assert (left_out(back, "a"), left_out(back, "b")) == ({"equal a cell of b": 2}, {})
    assert {"a:c3", "a:c7"} <= set(cells_of(forth)[0].index) and {"b:c0", "b:c1"} <= set(cells_of(back)[0].index)


def test_repeats_within_a_file_stay_once(tmp_path):
    counts = poisson(10, 0)
    write(tmp_path / "a.h5ad", counts[[0, 1, 0, 2, 0]])
    corpus = build_corpus(config(tmp_path, "a.h5ad", validation=0.0), tmp_path / "out")
    assert left_out(corpus, "a") == {"equal a cell of a": 2}
    assert set(cells_of(corpus)[0].index) == {"a:c0", "a:c1", "a:c3"}


def test_cells_that_express_too_few_of_the_shared_genes_are_not_judged(tmp_path):
    counts = np.zeros((4, N_GENES))
    counts[:, :24] = 1
    counts[2:, 24] = 1
    write(tmp_path / "a.h5ad", counts)
    corpus = build_corpus(config(tmp_path, "a.h5ad", validation=0.0), tmp_path / "out")
    assert left_out(corpus, "a") == {"equal a cell of a": 1}, "25 expressed genes tell, 24 do not"


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_duplicates_are_those_that_comparing_all_pairs_finds(tmp_path_factory, seed, n_files):
    """Against a comparison of every cell with every kept one before it, on the genes that both files list."""
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(seed)
    pool = poisson(12, seed, rate=4.0)
    lists = [np.sort(rng.choice(N_GENES, rng.integers(45, N_GENES + 1), replace=False)) for _ in range(n_files)]
    drawn = [pool[rng.integers(0, 12, 10)] for _ in lists]
    for i, (counts, genes) in enumerate(zip(drawn, lists, strict=True)):
        write(folder / f"f{i}.h5ad", counts[:, genes], genes)
    corpus = build_corpus(config(folder, *(f"f{i}.h5ad" for i in range(n_files)), validation=0.0), folder / "out")
    kept: list[tuple[str, np.ndarray, np.ndarray]] = []
    for i, (counts, genes) in enumerate(zip(drawn, lists, strict=True)):
        for number, cell in enumerate(counts):
            shared = [(other, np.intersect1d(genes, theirs)) for _, other, theirs in kept]
            equal = [np.array_equal(cell[both], other[both]) and (cell[both] > 0).sum() >= 25 for other, both in shared]
            if not any(equal):
                kept.append((f"f{i}:c{number}", cell, genes))
    assert set(cells_of(corpus)[0].index) == {name for name, _, _ in kept}


# Held out -------------------------------------------------------------------------------------------------------------------------


def test_held_out_cells_are_in_no_file_also_not_in_one_listed_before(tmp_path):
    a, b = poisson(20, 0), poisson(10, 1)
    b[4] = a[2]
    b[5] = a[3]
    write(tmp_path / "a.h5ad", a)
    write(tmp_path / "b.h5ad", b, obs={"study": ["kept"] * 5 + ["secret"] * 5})
    b_by_study = {"path": "b.h5ad", "studies": "study"}
    corpus = build_corpus(config(tmp_path, "a.h5ad", b_by_study, hold_out=["sec*"]), tmp_path / "study")
    assert left_out(corpus, "a") == {"equal a cell of b (held out)": 1}
    assert left_out(corpus, "b") == {"are held out by 'sec*'": 5, "equal a cell of a": 1}
    assert corpus.manifest["files"]["b"]["studies"]["secret"]["kept"] == 0
    beside = build_corpus(config(tmp_path, "a.h5ad", hold_out_cells_of=["b.h5ad"]), tmp_path / "beside")
    assert left_out(beside, "a") == {"equal a cell of b (held out)": 2} and list(beside.manifest["files"]) == ["a"]
    whole = build_corpus(config(tmp_path, "a.h5ad", "b.h5ad", hold_out=["b"]), tmp_path / "whole")
    assert left_out(whole, "b") == {"are held out by 'b'": 10} and left_out(whole, "a") == {"equal a cell of b (held out)": 2}


def test_nothing_is_left(two, tmp_path):
    with pytest.raises(InputError, match="of 50 cells none is left"):
        build_corpus(config(two, "a.h5ad", hold_out=["*"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Again, stopped, elsewhere --------------------------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


def stop_at(number):
    """Stops a build when it tells of its progress for the so many-th time; what was told is in ``.said``."""

    def tell(progress):
        tell.said.append(progress)
        if len(tell.said) == number:
            raise Stopped

    tell.said = []
    return tell


def without_time(corpus):
    return {name: value for name, value in corpus.manifest.items() if name != "made"}


def test_a_finished_corpus_is_found_and_not_built_again(two, tmp_path):
    built = build_corpus(config(two, "a.h5ad"), tmp_path / "out")
    watched = stop_at(1)
    assert build_corpus(config(two, "a.h5ad"), tmp_path / "out", tell=watched).manifest == built.manifest and not watched.said
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.copy(two / "a.h5ad", moved)
    again = build_corpus(config(moved, "a.h5ad"), tmp_path / "out", tell=watched)
    assert again.manifest == built.manifest and not watched.said, "where files lie does not count"


def test_nothing_is_written_over(two, tmp_path):
    build_corpus(config(two, "a.h5ad"), tmp_path / "out")
    with pytest.raises(InputError, match="holds a corpus of another config"):
        build_corpus(config(two, "a.h5ad", seed=5), tmp_path / "out")
    write(two / "a.h5ad", poisson(9, 5))
    with pytest.raises(InputError, match="or of files that have changed"):
        build_corpus(config(two, "a.h5ad"), tmp_path / "out")
    with pytest.raises(InputError, match="holds no corpus"):
        build_corpus(config(two, "b.h5ad"), two)


def test_a_build_that_was_stopped_anywhere_goes_on(two, tmp_path):
    wanted = config(two, "a.h5ad", "b.h5ad", hold_out=["nobody"], shard_cells=64)
    whole = build_corpus(wanted, tmp_path / "whole", tell=(watched := stop_at(10_000)))
    for number in range(1, len(watched.said) + 1):
        out = tmp_path / f"out{number}"
        with pytest.raises(Stopped):
            build_corpus(wanted, out, tell=stop_at(number))
        assert not out.exists(), "a corpus that is not finished must not be taken for one"
        resumed = build_corpus(wanted, out, tell=(rest := stop_at(10_000)))
        assert without_time(resumed) == without_time(whole)
        for shard in (*whole.train, *whole.validation):
            assert (out / shard).read_bytes() == (tmp_path / "whole" / shard).read_bytes()
        redone = len(rest.said) + number - len(watched.said)
        assert redone <= 1 + len(whole.train) + len(whole.validation), "of files that were finished none is read again"
    left = [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")]
    assert left == []


def test_leftovers_of_another_config_are_removed(two, tmp_path):
    with pytest.raises(Stopped):
        build_corpus(config(two, "a.h5ad"), tmp_path / "out", tell=stop_at(2))
    assert len(list(tmp_path.glob(".out.*.part"))) == 1
    build_corpus(config(two, "a.h5ad", seed=9), tmp_path / "out")
    assert list(tmp_path.glob(".out.*.part")) == []


def test_a_folder_that_lacks_a_shard_is_not_read(two, tmp_path):
    corpus = build_corpus(config(two, "a.h5ad"), tmp_path / "out")
    (tmp_path / "out" / corpus.train[0]).unlink()
    with pytest.raises(InputError, match="lacks train_00000.h5ad"):
        Corpus(tmp_path / "out")
    with pytest.raises(InputError, match="holds no finished corpus"):
        Corpus(two)


# Bad files ------------------------------------------------------------------------------------------------------------------------


def test_values_that_are_no_counts_are_refused_before_anything_is_read(two, tmp_path):
    adata = anndata.read_h5ad(two / "b.h5ad")
    adata.X = adata.X.log1p()
    adata.write_h5ad(two / "logged.h5ad")
    with pytest.raises(InputError, match="was declared as raw counts"):
        build_corpus(config(two, "a.h5ad", "logged.h5ad"), tmp_path / "out", tell=(watched := stop_at(1)))
    assert not watched.said


@pytest.mark.parametrize("column", ["label", "ontology", "studies"])
def test_a_column_that_was_named_must_be_there(two, tmp_path, column):
    with pytest.raises(InputError, match="has no column 'kind'"):
        build_corpus(config(two, {"path": "a.h5ad", column: "kind"}), tmp_path / "out")


def test_mouse_files_need_orthologues(two, tmp_path):
    with pytest.raises(InputError, match="mouse files go into a human corpus with"):
        build_corpus(config(two, {"path": "a.h5ad", "organism": "mouse"}), tmp_path / "out")


def test_a_zarr_folder_and_a_layer(two, tmp_path):
    adata = anndata.read_h5ad(two / "a.h5ad")
    adata.layers["molecules"] = adata.X
    adata.X = adata.X * 0
    adata.write_zarr(tmp_path / "z.zarr")
    corpus = build_corpus(config(tmp_path, {"path": "z.zarr", "layer": "molecules", "name": "z"}), tmp_path / "out")
    assert corpus.n_cells == 50 and corpus.manifest["files"]["z"]["bytes"] > 0


def test_shards_are_plain_h5ad_files(two, tmp_path):
    corpus = build_corpus(config(two, "a.h5ad", "b.h5ad"), tmp_path / "out")
    shard = corpus.train[0]
    data = read(tmp_path / "out" / shard)
    assert data.cell_ids.tolist() == corpus.read(shard).cell_ids.tolist()
    assert {"symbol", "ensembl_id", "n_cells", "median"} <= set(data.var) and {"study", "file", "label", "total"} <= set(data.obs)
    np.testing.assert_array_equal(data.values.toarray(), corpus.read(shard).values.toarray())


# Real cells -----------------------------------------------------------------------------------------------------------------------


def test_the_studies_that_another_file_was_put_together_of_are_found_in_it(shared_data, tmp_path):
    """pbmc_multistudy is pbmc3k, zheng_facs and the unstimulated half of kang_ifnb on shared genes (SOURCES.md); here pbmc3k is listed."""
    files = ["pbmc3k.h5ad", {"path": "pbmc_multistudy.h5ad", "studies": "batch"}]
    corpus = build_corpus(config(shared_data, *files, shard_cells=4096, genes=500), tmp_path / "out")
    studies = corpus.manifest["files"]["pbmc_multistudy"]["studies"]
    assert {study: counts["left_out"] for study, counts in studies.items()} == {
        "kang_ctrl": {},
        "pbmc3k": {"equal a cell of pbmc3k": 2624},
        "zheng_facs": {},
    }


def test_cells_that_were_drawn_twice_are_found_in_a_published_subset(shared_data, tmp_path):
    """Of the 350 cells of this subset 328 rows are distinct (numpy.unique over all genes)."""
    corpus = build_corpus(config(shared_data, "pancreas_baron_human_mouse.h5ad", genes=500), tmp_path / "out")
    distinct = len(np.unique(read(shared_data / "pancreas_baron_human_mouse.h5ad").values.toarray(), axis=0))
    assert corpus.n_cells == distinct == 328
