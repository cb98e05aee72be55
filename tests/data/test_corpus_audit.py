"""Whether cells are in a corpus: seen, not listed, or unknown where nothing can be told."""

import json
import warnings
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from corpus_files import IDS, N_GENES, SYMBOLS, config, poisson, write
from hypothesis import given, settings
from hypothesis import strategies as st

from scrutiny.core.dataset import Scale, from_arrays
from scrutiny.core.errors import InputError
from scrutiny.data.corpus_audit import audit, exposure_facts, judge_cells
from scrutiny.data.corpus_build import build_corpus
from scrutiny.data.read import read

TRAINED, HELD = poisson(40, 0), poisson(10, 1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """40 cells of one file on 60 genes, and a file of 10 cells that were held out."""
    folder = tmp_path_factory.mktemp("corpus")
    write(folder / "trained.h5ad", TRAINED)
    write(folder / "held.h5ad", HELD[:, :50], np.arange(50))
    return build_corpus(config(folder, "trained.h5ad", hold_out_cells_of=["held.h5ad"]), folder / "out")


@pytest.fixture(scope="module")
def model(corpus, tmp_path_factory):
    """The folder of a model that was trained on it: manifest and hashes, no shards."""
    folder = tmp_path_factory.mktemp("model")
    corpus.carry_to(folder)
    return folder


def cells(counts, genes=None, ids=SYMBOLS, **more):
    genes = np.arange(counts.shape[1]) if genes is None else genes
    obs = pd.DataFrame(index=[f"q{i}" for i in range(len(counts))])
    return from_arrays("query", counts, obs, np.asarray(ids)[genes], organism="human", **more)


def test_cells_of_the_corpus_are_counted_among_others(model):
    found = audit(cells(np.vstack([poisson(7, 9), TRAINED[[5, 11, 12]]])), model)
    assert (found.answer, found.n_seen, found.n_cells) == ("seen", 3, 10)
    assert found.source == "3 of 10 cells have the counts of a cell of the training corpus."


def test_other_cells_are_not_listed(model):
    found = audit(cells(poisson(10, 9)), model)
    assert (found.answer, found.n_seen, found.n_cells) == ("not listed", 0, 10)


@pytest.mark.parametrize("ids", [SYMBOLS, IDS], ids=["symbols", "Ensembl ids"])
def test_the_spelling_and_the_order_of_genes_play_no_part(model, ids):
    order = np.random.default_rng(0).permutation(N_GENES)
    assert audit(cells(TRAINED[:4][:, order], order, ids), model).n_seen == 4


def test_more_genes_than_the_corpus_has_do_not_hide_a_cell(model):
    more = np.hstack([TRAINED[:4], np.ones((4, 2))])
    assert audit(cells(more, ids=[*SYMBOLS, "OTHER1", "OTHER2"]), model).n_seen == 4


def test_genes_that_are_silent_in_all_cells_may_be_lacking(model):
    counts = TRAINED[:4].copy()
    expressed = np.flatnonzero(counts.any(axis=0))
    assert audit(cells(counts[:, expressed], expressed), model).n_seen == 4


def test_a_count_that_differs_makes_another_cell(model):
    changed = TRAINED[:4].copy()
    changed[:, 30] += 1
    assert audit(cells(changed), model).answer == "not listed"


def test_held_out_cells_are_known_to_be_absent_though_their_file_lacks_genes(model):
    found = judge_cells(cells(np.vstack([HELD, poisson(3, 5)])[:, :50], ids=IDS), model)
    assert found.absent.tolist() == [True] * 10 + [False] * 3 and not found.seen.any()
    assert audit(cells(HELD[:, :50], ids=IDS), model).answer == "not listed"


def test_fewer_genes_than_a_panel_leave_it_unknown_for_a_model_but_not_for_the_corpus_itself(model, corpus):
    counts, genes = np.vstack([TRAINED[:3], poisson(7, 9)])[:, :40], np.arange(40)
    assert audit(cells(counts, genes), model).answer == "unknown"
    found = audit(cells(counts, genes), corpus.folder)
    assert (found.answer, found.n_seen) == ("seen", 3)
    assert audit(cells(counts[3:], genes), corpus.folder).answer == "not listed"


def test_shallow_cells_are_not_judged(model, corpus):
    shallow = np.zeros((4, N_GENES))
    shallow[:, :24] = 1
    for folder in (model, corpus.folder):
        found = audit(cells(shallow), folder)
        assert found.answer == "unknown" and "0 of 4 cells can be judged" in found.source
    found = audit(cells(np.vstack([TRAINED[:3], shallow])), model)
    assert found.source.startswith("3 of 7 cells") and found.source.endswith("; 4 cannot be judged.")


def test_values_that_are_no_counts_are_judged_by_name_alone(model):
    logged = replace(cells(np.log1p(TRAINED)), scale=Scale.LOG)
    assert audit(logged, model).answer == "unknown"
    named = {name: audit(replace(logged, facts={"catalog": name}), model) for name in ("trained", "held", "other")}
    assert {name: found.answer for name, found in named.items()} == {"trained": "seen", "held": "not listed", "other": "unknown"}
    assert named["trained"].n_seen is None


def test_a_name_does_not_outweigh_the_cells(model):
    assert audit(replace(cells(poisson(10, 9)), facts={"catalog": "trained"}), model).answer == "not listed"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_never_a_wrong_answer(corpus, model, seed):
    """Any genes, any mixture of trained and other cells: what is said to be seen or absent is, on the genes at hand."""
    rng = np.random.default_rng(seed)
    genes = np.sort(rng.choice(N_GENES, rng.integers(20, N_GENES + 1), replace=False))
    rows = rng.integers(0, 40, 6)
    counts = np.vstack([TRAINED[rows], poisson(6, seed + 100)])[:, genes]
    is_trained = np.array([(cell == TRAINED[:, genes]).all(axis=1).any() for cell in counts])
    for folder in (model, corpus.folder):
        found = judge_cells(cells(counts, genes), folder)
        assert not (found.seen & ~is_trained).any() and not (found.absent & is_trained).any()
    tells = (counts > 0).sum(axis=1) >= 25
    np.testing.assert_array_equal(found.seen | found.absent, tells, "with the shards at hand every cell that tells is judged")


def test_files_that_share_no_gene_leave_no_panel_but_whole_cells_are_found(tmp_path):
    for name, genes in (("a", np.arange(30)), ("b", np.arange(30, N_GENES))):
        write(tmp_path / f"{name}.h5ad", poisson(20, 3, rate=9.0)[:, genes], genes)
    corpus = build_corpus(config(tmp_path, "a.h5ad", "b.h5ad"), tmp_path / "out")
    assert corpus.manifest["panel"] == {"sizes": [], "genes": []}
    corpus.carry_to(tmp_path)
    assert audit(read(tmp_path / "b.h5ad"), tmp_path).n_seen == 20
    assert audit(cells(poisson(10, 9)), tmp_path).answer == "unknown"


def test_a_folder_without_a_manifest_and_one_without_its_hashes(model, tmp_path):
    assert exposure_facts(cells(TRAINED), tmp_path) == {}
    with pytest.raises(InputError, match="holds no finished corpus"):
        audit(cells(TRAINED), tmp_path)
    (tmp_path / "manifest.json").write_bytes((model / "manifest.json").read_bytes())
    with pytest.raises(InputError, match="cannot be read together"):
        audit(cells(TRAINED), tmp_path)
    model_manifest = json.loads((model / "manifest.json").read_text())
    model_manifest["panel"]["genes"] = [{"id": "a", "symbol": "b", "more": "c"}]
    (tmp_path / "manifest.json").write_text(json.dumps(model_manifest))
    with pytest.raises(InputError, match="cannot be read together"):
        audit(cells(TRAINED), tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    assert exposure_facts(cells(TRAINED), tmp_path) == {}


def test_the_fact_of_a_run_is_plain(model):
    assert exposure_facts(cells(TRAINED[:4]), model)["exposure"] == {
        "answer": "seen",
        "source": "4 of 4 cells have the counts of a cell of the training corpus.",
        "n_seen": 4,
        "n_cells": 4,
    }


def test_a_real_study_put_together_of_others(shared_data, tmp_path):
    """2,624 of the 7,458 cells of pbmc_multistudy are those of pbmc3k, on fewer genes and under other names (SOURCES.md)."""
    corpus = build_corpus(config(shared_data, "pbmc3k.h5ad", genes=4000, shard_cells=4096), tmp_path / "out")
    corpus.carry_to(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = read(shared_data / "pbmc_multistudy.h5ad", roles={"batch": "batch"})
    found = audit(data, tmp_path)
    assert (found.answer, found.n_seen, found.n_cells) == ("seen", 2624, 7458)
    seen = judge_cells(data, tmp_path).seen
    assert set(data.role("batch")[seen]) == {"pbmc3k"} and seen.sum() == (data.role("batch") == "pbmc3k").sum()


def test_the_same_cells_of_two_published_subsets_have_the_same_barcodes(shared_data, tmp_path):
    """Both files hold 5' cells of one 10x data set, the second on 1,764 genes: what is found by counts is what the barcodes say."""
    corpus = build_corpus(config(shared_data, "pbmc_3chem_unlabelled.h5ad", genes=9000, shard_cells=4096), tmp_path / "out")
    data = read(shared_data / "pbmc_3chem_symphony.h5ad")
    ids = [cell for shard in (*corpus.train, *corpus.validation) for cell in corpus.read(shard).cell_ids]
    barcodes = {cell.split("_")[-1].removesuffix("-1") for cell in ids}
    shared = np.array([cell.split("_")[-1] in barcodes for cell in data.cell_ids])
    found = judge_cells(data, tmp_path / "out")
    assert shared.sum() == 80
    np.testing.assert_array_equal(found.seen, shared)


@pytest.mark.parametrize("name", ["rank", "bins", "joint"])
def test_the_manifests_of_the_models_in_the_package_are_read(name):
    assert audit(cells(TRAINED), files("scrutiny") / "minis" / name).answer == "unknown"
