"""Which genes of a data set a model finds: the official look-up, translation by tables, orthologues, sums, refusals with numbers."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import read_h5ad

from scrutiny.core.dataset import Dataset, from_arrays
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.data import genetables
from scrutiny.data.download import Remote
from scrutiny.data.genetables import GeneTables
from scrutiny.data.names import name_genes
from scrutiny.data.read import read
from scrutiny.methods.foundation.geneformer import Geneformer, UntrainedGeneformer
from scrutiny.methods.foundation.genes import Vocabulary, match
from scrutiny.nets.dictionaries import read_dictionary

HUMAN = pd.DataFrame(
    [
        ("ENSG00000000003", "TSPAN6", "T245|TM4SF6"),
        ("ENSG00000000419", "DPM1", "MPDS"),
        ("ENSG00000000457", "SCYL3", "PACE1"),
        ("ENSG00000167286", "CD3D", ""),
        ("ENSG00000206172", "HBA1", ""),
    ],
    columns=["ensembl_id", "symbol", "synonyms"],
)
MOUSE = pd.DataFrame(
    [
        ("ENSMUSG00000032094", "Cd3d"),
        ("ENSMUSG00000069919", "Hba-a1"),
        ("ENSMUSG00000069917", "Hba-a2"),
        ("ENSMUSG00000067377", "Tspan6"),
        ("ENSMUSG00000050671", "Ism2"),
    ],
    columns=["ensembl_id", "symbol"],
)
PAIRS = pd.DataFrame(
    [("CD3D", "Cd3d"), ("HBA1", "Hba-a1"), ("HBA1", "Hba-a2"), ("TSPAN6", "Tspan6")], columns=["human_symbol", "mouse_symbol"]
)
SYMBOLS = Vocabulary(np.array(["CD3D", "DPM1", "HBA1", "PACE1", "TSPAN6"]), "symbol")
IDS = Vocabulary(np.array(["ENSG00000000003", "ENSG00000167286", "ENSG00000206172", "ENSMUSG00000050671"]), "ensembl_id")


def cells(genes, *, organism="human", **columns) -> Dataset:
    """Two cells in which the genes have the counts 1, 2, 3 ... and ten times as many."""
    counts = np.outer([1, 10], np.arange(1, len(genes) + 1))
    data = from_arrays("toy", counts, pd.DataFrame(index=["a", "b"]), genes, organism=organism)
    return replace(data, var=data.var.assign(**columns))


def seen(data: Dataset, vocabulary: Vocabulary, **options) -> dict[str, float]:
    """Counts of the first cell by the word of the vocabulary that they are shown under."""
    matched = match(data, vocabulary, min_genes=1, **options)
    (counts,) = matched.counts(data)
    return dict(zip(vocabulary.names[matched.words], counts.known.toarray()[0].tolist(), strict=True))


@pytest.fixture
def tables(tmp_path) -> GeneTables:
    for name, table in (("human", HUMAN), ("mouse", MOUSE), ("pairs", PAIRS)):
        table.to_csv(tmp_path / f"{name}.tsv", sep="\t", index=False)
    return GeneTables(f"{tmp_path / 'human.tsv'},{tmp_path / 'mouse.tsv'}", str(tmp_path / "pairs.tsv"))


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No table is in the cache, and none can be fetched."""
    monkeypatch.setattr(genetables, "cache_folder", lambda: tmp_path / "nothing")
    for name in genetables.TABLES:
        monkeypatch.setitem(genetables.TABLES, name, Remote(f"{name}.csv", "http://127.0.0.1:9/table.csv"))


# The official look-up ------------------------------------------------------------------------------------------------------------


def test_names_are_looked_up_as_spelt_and_in_upper_case_only_where_the_official_code_does(offline):
    data = cells(["CD3D", "Dpm1", "HBA1"])
    assert seen(data, SYMBOLS) == {"CD3D": 1, "HBA1": 3}
    assert seen(data, replace(SYMBOLS, folded=True)) == {"CD3D": 1, "DPM1": 2, "HBA1": 3}


def test_ensembl_ids_lose_their_version_and_columns_of_one_gene_are_summed(offline):
    data = cells(["ENSG00000167286.12", "ENSG00000000003.1", "ENSG00000167286.3", "ENSG00000999999"])
    matched = match(data, IDS, min_genes=1)
    assert seen(data, IDS) == {"ENSG00000000003": 2, "ENSG00000167286": 1 + 3}
    assert list(matched.gene_ids) == ["ENSG00000000003.1", "ENSG00000167286.12"]  # of several columns the first
    assert (matched.facts["n_found"], matched.facts["share"], matched.facts["n_summed"]) == (2, 0.75, 1)


def test_aliases_of_the_official_files_are_part_of_the_look_up(offline):
    data = cells(["ENSG00000888888", "ensg00000167286"])
    aliased = replace(IDS, aliases={"ENSG00000888888": "ENSG00000000003"})
    assert seen(data, aliased) == {"ENSG00000000003": 1, "ENSG00000167286": 2}


def test_the_kind_of_id_that_the_vocabulary_has_is_preferred(offline):
    data = cells(["x1", "x2"], symbol=["CD3D", "HBA1"], ensembl_id=["ENSG00000000003", ""])
    assert match(data, SYMBOLS, min_genes=1).facts["looked_up_by"] == "symbol"
    assert seen(data, IDS) == {"ENSG00000000003": 1}


def test_the_order_is_that_of_the_vocabulary_or_of_the_file(offline):
    data = cells(["TSPAN6", "nothing", "CD3D"])
    assert list(match(data, SYMBOLS, min_genes=1).gene_ids) == ["CD3D", "TSPAN6"]
    assert list(match(data, SYMBOLS, min_genes=1, order="file").gene_ids) == ["TSPAN6", "CD3D"]


def test_too_few_known_genes_are_refused_with_the_number(offline):
    with pytest.raises(NotApplicable, match=r"of 3 genes of 'toy' the model knows 1 \(of its 5; .* not dpm1, X\); expected at least 2"):
        match(cells(["CD3D", "dpm1", "X"]), SYMBOLS, min_genes=2)


# Translation by tables -----------------------------------------------------------------------------------------------------------


def test_ids_of_the_other_kind_are_translated_both_ways(tables):
    by_id = cells(["ENSG00000167286.1", "ENSG00000000457", "ENSG00000000003", "ENSG00000999999"])
    assert seen(by_id, SYMBOLS, tables=tables) == {"CD3D": 1, "PACE1": 2, "TSPAN6": 3}  # PACE1 is a former name of SCYL3
    by_symbol = cells(["CD3D", "HBA1", "TM4SF6", "nothing"])
    assert seen(by_symbol, IDS, tables=tables) == {"ENSG00000167286": 1, "ENSG00000206172": 2, "ENSG00000000003": 3}
    told = match(by_symbol, IDS, min_genes=1, tables=tables).facts
    assert (told["translated"], told["n_translated"], told["looked_up_by"]) == ("a table of human genes", 3, "index")
    assert json.loads(json.dumps(told)) == told


def test_a_named_table_also_finds_synonyms_and_none_is_asked_for_where_the_look_up_suffices(tables, offline):
    data = cells(["CD3D", "MPDS", "HBA1"])
    assert seen(data, SYMBOLS) == {"CD3D": 1, "HBA1": 3}
    assert seen(data, SYMBOLS, tables=tables) == {"CD3D": 1, "DPM1": 2, "HBA1": 3}


def test_of_two_words_for_one_gene_its_present_symbol_wins(tables):
    both = Vocabulary(np.array(["PACE1", "SCYL3", "CD3D"]), "symbol")
    assert seen(cells(["ENSG00000000457", "ENSG00000167286"]), both, tables=tables) == {"SCYL3": 1, "CD3D": 2}


def test_without_a_table_the_refusal_says_what_was_found_and_how_to_give_one(offline):
    with pytest.raises(NotApplicable, match=r"knows 0 \(of its 5;.*cannot download.*name one with the option genes=FILE"):
        match(cells(["ENSG00000167286", "ENSG00000000003"]), SYMBOLS, min_genes=1)
    with pytest.raises(NotApplicable, match=r"has mouse genes and the model knows human ones;.*option orthologues=FILE"):
        match(cells(["Cd3d"], organism="mouse"), SYMBOLS, min_genes=1)


def test_a_named_table_that_cannot_be_read_is_the_user_s_mistake(tables):
    with pytest.raises(InputError, match="there is no file lost.tsv"):
        match(cells(["CD3D"]), SYMBOLS, min_genes=1, tables=replace(tables, genes="lost.tsv"))


# Orthologues ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["symbol", "ensembl_id"])
def test_mouse_genes_are_looked_up_as_their_human_orthologues(tables, spelling):
    data = cells(MOUSE[spelling], organism="mouse")
    assert seen(data, SYMBOLS, tables=tables) == {"CD3D": 1, "HBA1": 2 + 3, "TSPAN6": 4}
    told = match(data, SYMBOLS, min_genes=1, tables=tables).facts
    assert told["translated"] == "mouse genes by human orthologues"
    assert (told["n_translated"], told["n_summed"]) == (4, 1)


def test_mouse_genes_that_the_vocabulary_spells_need_no_orthologue(tables):
    by_id = cells(MOUSE["ensembl_id"], organism="mouse")
    human = {"ENSG00000000003": 4, "ENSG00000167286": 1, "ENSG00000206172": 2 + 3}
    assert seen(by_id, IDS, tables=tables) == {**human, "ENSMUSG00000050671": 5}
    assert seen(by_id, replace(IDS, organisms=frozenset({"human", "mouse"})), tables=replace(tables, pairs="")) == {"ENSMUSG00000050671": 5}


def test_the_mouse_symbols_of_a_model_that_knows_mouse_ids_are_translated_by_the_mouse_table(tables):
    both = Vocabulary(np.array(["ENSG00000167286", "ENSMUSG00000032094"]), "ensembl_id", organisms=frozenset({"human", "mouse"}))
    assert seen(cells(["Cd3d", "Hba-a1"], organism="mouse"), both, tables=tables) == {"ENSMUSG00000032094": 1}


def test_other_organisms_have_no_orthologues_here(tables):
    with pytest.raises(NotApplicable, match="has rat genes and the model knows human ones; orthologues .* from mouse"):
        match(cells(["Cd3d"], organism="rat"), SYMBOLS, min_genes=1, tables=tables)
    with pytest.raises(NotApplicable, match="has mouse genes and the model knows pig ones"):
        match(cells(["Cd3d"], organism="mouse"), replace(SYMBOLS, organisms=frozenset({"pig"})), min_genes=1, tables=tables)


# Real cells and official vocabularies --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vocabularies(shared) -> dict[str, Vocabulary]:
    folder = shared / "reference-data"
    census = json.loads((folder / "scgpt" / "default_census_vocab.json").read_text())
    foundation = pd.read_csv(folder / "scfoundation" / "OS_scRNA_gene_index.19264.tsv", sep="\t")["gene_name"]
    similarity = pd.read_csv(folder / "scimilarity" / "gene_order.tsv", header=None)[0]
    with h5py.File(folder / "nicheformer" / "model.h5ad") as file:
        niche = file["var/_index"].asstr()[:].astype(str)
    tokens = [gene for gene in read_dictionary(folder / "geneformer" / "token_dictionary_gc30M.pkl") if gene.startswith("ENS")]
    return {
        "scgpt": Vocabulary(np.array(list(census)), "symbol"),
        "geneformer": Vocabulary(np.array(tokens), "ensembl_id"),
        "scfoundation": Vocabulary(foundation.to_numpy(str), "symbol"),
        "scimilarity": Vocabulary(similarity.to_numpy(str), "symbol"),
        "nicheformer": Vocabulary(niche, "ensembl_id"),
    }


@pytest.fixture(scope="module")
def real_tables(shared_data) -> GeneTables:
    genes = f"{shared_data / 'genes_human.tsv.gz'},{shared_data / 'genes_mouse.tsv.gz'}"
    return GeneTables(genes, str(shared_data / "orthologs_human_mouse_ensembl105.tsv.gz"))


def genes_of(path: Path, organism: str = "human") -> Dataset:
    """The genes of a real file, with two made-up cells."""
    var = name_genes(read_h5ad(path, backed="r").var).table
    return replace(cells(var.index, organism=organism), var=var)


def only(data: Dataset, column: str) -> Dataset:
    """The genes that have such an id, and no other name of them."""
    ids = data.var[column]
    kept = np.flatnonzero((ids != "") & ~ids.duplicated())
    return replace(data.take_genes(kept), var=pd.DataFrame(index=pd.Index(ids.iloc[kept], dtype=str)))


FOUND = {
    # as the official code looks them up; from Ensembl ids or symbols alone through the table; of 32,738 and 9,015 genes
    "pbmc3k": {"scgpt": (27272, 22472), "geneformer": (20331, 17753), "scfoundation": (17695, 18401), "nicheformer": (19187, 17772)},
    "kang_ifnb": {"scgpt": (8355, 8761), "geneformer": (8698, 8095), "scfoundation": (8140, 8594), "scimilarity": (8483, 8462)},
}
"""Measured, to be told when a rule changes; the direct ones are plain intersections, which the test counts again by itself."""


@pytest.mark.parametrize("name", FOUND)
def test_real_cells_are_found_directly_and_through_a_table(shared_data, vocabularies, real_tables, name):
    data = genes_of(shared_data / f"{name}.h5ad")
    for model, (directly, translated) in FOUND[name].items():
        words = vocabularies[model]
        other = "ensembl_id" if words.kind == "symbol" else "symbol"
        assert match(data, words).facts["n_found"] == directly == len(set(data.var[words.kind]) & set(words.names)), model
        bare = only(data, other)
        told = match(bare, words, tables=real_tables).facts
        assert told["n_found"] == translated, model
        assert told["n_translated"] >= translated and told["translated"] == "a table of human genes"


def test_real_mouse_cells_are_found_through_orthologues(shared_data, vocabularies, real_tables):
    """Baron's mouse cells have human symbols, BEELINE's have mouse symbols in upper case."""
    for name in ("pancreas_baron_human_mouse", "beeline_mdc_500"):
        data = genes_of(shared_data / f"{name}.h5ad", "mouse")
        shares = {model: match(data, words, tables=real_tables).facts["share"] for model, words in vocabularies.items()}
        assert min(shares.values()) > 0.83, (name, shares)


def test_most_coding_mouse_genes_have_a_human_word_under_either_id(shared_data, vocabularies, real_tables):
    genes = pd.read_csv(shared_data / "genes_mouse.tsv.gz", sep="\t", keep_default_na=False)
    coding = genes[genes["biotype"] == "protein_coding"].drop_duplicates("symbol")
    for model in ("scgpt", "nicheformer"):
        words = vocabularies[model]
        found = [match(cells(coding[c], organism="mouse"), words, tables=real_tables) for c in ("symbol", "ensembl_id")]
        assert all(0.75 < m.facts["share"] < 0.85 for m in found), model
        only_once = words.names[np.setxor1d(found[0].words, found[1].words)]
        assert np.char.startswith(only_once, "ENSMUSG").sum() >= len(only_once) - 10, model  # Nicheformer's own mouse words are ids
    own = np.flatnonzero(np.char.startswith(vocabularies["nicheformer"].names, "ENSMUSG"))
    assert len(own) == 151 and np.isin(own, found[1].words).mean() > 0.5


# In the methods ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def geneformer(shared):
    return shared / "parity" / "geneformer_v1"


def test_genes_are_matched_once_for_plan_fit_and_embed(geneformer, monkeypatch):
    from scrutiny.methods.foundation import model

    data = read(geneformer / "cells.h5ad")
    asked = []
    monkeypatch.setattr(model, "match", lambda *given, **options: (asked.append(given), match(*given, **options))[1])
    method = Geneformer(str(geneformer))
    method.check_applies(data)
    assert method.facts(data)["genes"]["n_found"] == 4600
    method.fit(data, seed=0).embed(data.take(np.arange(2)))
    assert len(asked) == 1
    method.check_applies(replace(data, var=data.var.copy()))
    assert len(asked) == 2


def test_a_human_model_takes_mouse_cells_by_way_of_orthologues(geneformer, shared_data, real_tables):
    """821 genes, of which the cut dictionary of the fixture (5,000 words) knows enough."""
    data = read(shared_data / "beeline_mdc_500.h5ad")
    method = Geneformer(str(geneformer), genes=real_tables.genes, orthologues=real_tables.pairs)
    assert method.card.organisms == {"human", "mouse"} and Geneformer.card.organisms == {"human"}
    told = method.facts(data)["genes"]
    assert told["translated"].startswith("mouse genes by human orthologues") and told["n_found"] > 100
    vectors = method.fit(data, seed=0).embed(data.take(np.arange(3))).values
    assert np.isfinite(vectors).all() and len(np.unique(vectors[:, 0])) == 3


def test_the_key_of_the_weights_has_the_content_of_named_tables_and_not_their_path(geneformer, tables, tmp_path):
    plain = Geneformer(str(geneformer))
    named = Geneformer(str(geneformer), genes=tables.genes.split(",")[0])
    shutil.copy(tmp_path / "human.tsv", tmp_path / "copy.tsv")
    moved = Geneformer(str(geneformer), genes=str(tmp_path / "copy.tsv"))
    assert plain.weights_key != named.weights_key == moved.weights_key
    (tmp_path / "copy.tsv").write_text((tmp_path / "human.tsv").read_text() + "ENSG00000000938\tFGR\t\n")
    assert Geneformer(str(geneformer), genes=str(tmp_path / "copy.tsv")).weights_key != named.weights_key
    assert UntrainedGeneformer(str(geneformer), genes="hgnc").weights_key != UntrainedGeneformer(str(geneformer)).weights_key
