"""Drafts of every family: the twin runs on them, and weights saved in them are read by the family to the same vectors."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from scrutiny.core.cards import TWIN
from scrutiny.core.dataset import from_arrays
from scrutiny.core.errors import InputError
from scrutiny.core.registry import METHODS
from scrutiny.methods.foundation.drafts import LAYOUTS, draft, save
from scrutiny.methods.foundation.examine import examine
from scrutiny.methods.foundation.recognise import TELLING, family_of
from scrutiny.nets.folder import Folder
from scrutiny.nets.tokens import batch_of

N_GENES, N_CELLS = 150, 6
TINY = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 24, "context": 40}


def tiny(family, **more):
    """Small sizes, as far as the family has them."""
    return {name: size for name, size in TINY.items() if name in LAYOUTS[family].sizes} | more


@pytest.fixture(scope="module")
def genes() -> pd.DataFrame:
    names = [f"ENSG{i:011d}" for i in range(N_GENES)]
    columns = {"symbol": [f"G{i}" for i in range(N_GENES)], "ensembl_id": names, "median": np.linspace(0.5, 3.0, N_GENES)}
    return pd.DataFrame(columns, index=names)


@pytest.fixture(scope="module")
def cells(genes):
    counts = sparse.csr_matrix(np.random.default_rng(0).poisson(0.6, (N_CELLS, N_GENES)), dtype=np.float32)
    obs = pd.DataFrame(index=[f"cell_{i}" for i in range(N_CELLS)])
    made = from_arrays("made up", counts, obs, list(genes.index), organism="human")
    return replace(made, var=genes[["symbol", "ensembl_id"]])


def model_of(name, folder, **options):
    return METHODS.get(name)(str(folder), device="cpu", **options)


def embedded(model, data, seed=3):
    return (model.fit_embed(data, seed=seed) if model.card.transductive else model.fit(data, seed=seed).embed(data)).values


def test_every_family_is_drafted():
    assert set(LAYOUTS) == set(TELLING)


@pytest.mark.parametrize("family", LAYOUTS)
def test_twins_run_on_drafts_and_saved_weights_give_the_same_vectors(family, genes, cells, tmp_path):
    draft(family, tmp_path / "draft", genes=genes, sizes=tiny(family))
    twin = model_of(f"{TWIN}{family}", tmp_path / "draft")
    assert len(twin.match(cells).words) == N_GENES
    vectors = embedded(twin, cells)
    assert np.isfinite(vectors).all() and len(np.unique(vectors.round(4), axis=0)) == N_CELLS
    with pytest.raises(InputError):
        embedded(model_of(family, tmp_path / "draft"), cells)
    save(twin)
    model = model_of(family, tmp_path / "draft")
    assert np.array_equal(embedded(model, cells), vectors)
    assert not model.absent and family_of(tmp_path / "draft") == family
    if hasattr(model, "reconstruct"):
        one, other = (each.reconstruct(cells, hide=0.3) for each in (model, twin))
        assert np.array_equal(one.predicted, other.predicted) and np.isfinite(one.predicted).all()
    assert np.array_equal(embedded(model_of(f"{TWIN}{family}", tmp_path / "draft"), cells), vectors), "the twin stays as it was"


@pytest.mark.parametrize("family", LAYOUTS)
def test_half_precision_is_read_by_the_family(family, genes, cells, tmp_path):
    draft(family, tmp_path / "draft", genes=genes, sizes=tiny(family))
    twin = model_of(f"{TWIN}{family}", tmp_path / "draft")
    vectors = embedded(twin, cells)
    save(twin, dtype=torch.float16)
    rounded = embedded(model_of(family, tmp_path / "draft"), cells)
    assert np.abs(rounded - vectors).max() < 0.02 * vectors.std()


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        ("geneformer", {"special_tokens": False}),
        ("geneformer", {"positions": "none"}),
        ("langcell", {"positions": "none", "activation": "gelu"}),
        ("scgpt", {"values": "none", "n_bins": 7}),
        ("nicheformer", {"context_tokens": False}),
        ("scimilarity", {"layers": 1, "decoder": False}),
        ("scbert", {"width": 15, "head_width": 4}),
        ("cellplm", {"decoder_layers": 3}),
        ("scfoundation", {"decoder_width": 12, "decoder_heads": 3}),
    ],
)
def test_variants_are_saved_and_read_too(family, sizes, genes, cells, tmp_path):
    draft(family, tmp_path / "draft", genes=genes, sizes=tiny(family, **sizes))
    twin = model_of(f"{TWIN}{family}", tmp_path / "draft")
    vectors = embedded(twin, cells)
    save(twin)
    assert np.array_equal(embedded(model_of(family, tmp_path / "draft"), cells), vectors)


# Sizes and genes -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "sizes", "message"),
    [
        ("geneformer", {"witdh": 16}, "no 'witdh'; is it 'width'"),
        ("scgpt", {"width": 10, "heads": 4}, "10 does not split into 4 heads"),
        ("scgpt", {"layers": 0}, "layers .* is 0; expected a whole number from 1"),
        ("scgpt", {"layers": 2.5}, "layers .* is 2.5; expected a whole number"),
        ("scgpt", {"layers": True}, "layers .* is True; expected a whole number"),
        ("scgpt", {"values": "nothing"}, "values .* expected one of continuous, none"),
        ("geneformer", {"special_tokens": 1}, "special_tokens .* expected a bool"),
        ("geneformer", {"layers": 5_000}, "from 1 to 1,000"),
        ("uce", {"context": 17}, "a context of 17 has no room for genes beside the marks of 8 chromosomes"),
        ("scfoundation", {"decoder_width": 10}, "decoder_width of 10 does not split into 4 heads of 2 or more"),
        ("scbert", {"head_width": 1}, "n_features is 0"),
        ("scbert", {"context": 100}, "no 'context'; it has width, layers, heads"),
        ("genecompass", {"positions": "none"}, "no 'positions'"),
        ("genefromer", {}, "there are no drafts of 'genefromer'"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing_behind(family, sizes, message, genes, tmp_path):
    with pytest.raises(InputError, match=message):
        draft(family, tmp_path / "draft", genes=genes, sizes=sizes)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_files_is_left_as_it_is(genes, tmp_path):
    (tmp_path / "mine.txt").write_text("notes")
    with pytest.raises(InputError, match="is there already"):
        draft("scgpt", tmp_path, genes=genes)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_genes_without_a_name_of_their_own_are_left_out_and_counted(genes, tmp_path):
    odd = genes.assign(symbol=["", "G2", *genes["symbol"][2:]])
    draft("scgpt", tmp_path / "draft", genes=odd, sizes=tiny("scgpt"))
    words = json.loads((tmp_path / "draft/vocab.json").read_text())
    assert list(words)[:2] == ["G2", "G3"] and len(words) == N_GENES - 2 + 3
    assert json.loads((tmp_path / "draft/scrutiny.json").read_text())["notes"] == [
        "2 of 150 genes are left out: without a symbol of their own"
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"median": 0.0}, "150 genes have no positive median"),
        ({"median": np.nan}, "150 genes have no positive median"),
        ({"ensembl_id": ""}, "no gene of the table has a name in the column 'ensembl_id'"),
    ],
)
def test_tables_that_lack_what_a_family_needs_are_refused(changed, message, genes, tmp_path):
    with pytest.raises(InputError, match=message):
        draft("geneformer", tmp_path / "draft", genes=genes.assign(**changed))
    with pytest.raises(InputError, match=f"has no column '{next(iter(changed))}'"):
        draft("geneformer", tmp_path / "draft", genes=genes.drop(columns=list(changed)))


def test_proteins_of_a_folder_are_those_of_its_genes(genes, cells, tmp_path):
    proteins = tmp_path / "proteins"
    (proteins / "protein_embeddings").mkdir(parents=True)
    vectors = {f"g{i}": torch.arange(8.0) + i for i in range(120)}
    torch.save(vectors, proteins / "protein_embeddings/Homo_sapiens.GRCh38.gene_symbol_to_embedding_ESM2.pt")
    rows = [f"human,G{i},{1 + i % 3},{100 * i}" for i in range(2, 140)]
    (proteins / "species_chrom.csv").write_text("\n".join(["species,gene_symbol,chromosome,start", *rows]))
    draft("uce", tmp_path / "draft", genes=genes, sizes=tiny("uce", proteins=str(proteins)))
    twin = model_of("control/untrained_uce", tmp_path / "draft")
    human = twin.files.species["human"]
    assert human.vocabulary.names.tolist() == [f"G{i}" for i in range(2, 120)], "those with a protein and a place"
    assert torch.equal(twin.files.table[human.tokens], torch.stack([vectors[f"g{i}"] for i in range(2, 120)]))
    assert human.starts.tolist() == [100 * i for i in range(2, 120)]
    assert len(np.unique(human.chromosomes)) == 3 and human.chromosomes.max() == len(twin.files.table) - 1
    (note,) = json.loads((tmp_path / "draft/scrutiny.json").read_text())["notes"]
    assert note == f"protein embeddings and places on the genome from {proteins}: 118 of 150 genes"
    with pytest.raises(InputError, match="no protein embeddings of one width for any of 150 genes"):
        draft("uce", tmp_path / "other", genes=genes.assign(symbol=genes["symbol"] + "X"), sizes={"proteins": str(proteins)})


def test_what_is_made_up_depends_on_the_gene_alone_and_is_said(genes, tmp_path):
    for family, told in (("uce", "protein embeddings .* made up"), ("genecompass", "prior knowledge is made up")):
        tables = []
        for name, some in (("all", genes), ("few", genes.iloc[::-1].iloc[:120])):
            draft(family, tmp_path / family / name, genes=some, sizes=tiny(family))
            tensors = model_of(f"{TWIN}{family}", tmp_path / family / name).tensors(Folder(tmp_path / family / name))
            table = next(tensor for key, tensor in tensors.items() if key.endswith(("promoter_knowledge", "pe_embedding.weight")))
            first = 4 if family == "uce" else 2
            tables.append(dict(zip(some.index, table[first : first + len(some)], strict=True)))
        assert all(torch.equal(vector, tables[0][gene]) for gene, vector in tables[1].items())
        assert re.search(told, json.loads((tmp_path / family / "all/scrutiny.json").read_text())["notes"][-1])


@pytest.mark.parametrize(
    ("family", "changed", "message"),
    [
        ("uce", {"decoder": 5}, "lacks a size, or one is odd"),
        ("uce", {"n_layers": 10**6}, "n_layers is 1000000; expected whole numbers from 1 to 1,000"),
        ("uce", {"n_heads": 3}, "which 3 heads do not divide"),
        ("uce", {"depth": 3}, "lacks a size, or one is odd"),
        ("scbert", {"depth": -1}, "depth is -1; expected whole numbers"),
        ("scbert", {"wdith": 3}, "has one too many"),
    ],
)
def test_odd_sizes_in_a_file_are_refused(family, changed, message, genes, tmp_path):
    draft(family, tmp_path / "draft", genes=genes, sizes=tiny(family))
    path = tmp_path / "draft/sizes.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(InputError, match=message):
        _ = model_of(f"{TWIN}{family}", tmp_path / "draft").files


# What a folder says of itself ----------------------------------------------------------------------------------------------------


def test_a_folder_tells_that_it_is_a_draft_and_later_that_scrutiny_trained_it(genes, cells, tmp_path):
    draft("geneformer", tmp_path, genes=genes, sizes=tiny("geneformer"))
    record = json.loads((tmp_path / "scrutiny.json").read_text())
    assert record["draft"] is True and record["family"] == "geneformer" and record["made_by"].startswith("scrutiny ")
    assert record["sizes"] == {**TINY, "activation": "relu", "positions": "learned", "special_tokens": True}
    twin = model_of("control/untrained_geneformer", tmp_path)
    save(twin.with_seed(0))
    model = model_of("geneformer", tmp_path)
    assert model.weights_facts["origin"].startswith("a draft by scrutiny ") and not model.weights_facts["published"]
    with pytest.raises(InputError, match="is a draft of geneformer, whose weights are not trained"):
        examine(tmp_path)
    (tmp_path / "scrutiny.json").write_text(json.dumps({**record, "draft": False, "trained": {"steps": 10}}))
    assert examine(tmp_path).origin == f"trained by {record['made_by']}, not a published model"
    assert model.weights_facts["origin"] == f"trained by {record['made_by']}, not a published model"
    assert model_of("control/untrained_geneformer", tmp_path).weights_facts["origin"] == "random numbers"


# Ablations -----------------------------------------------------------------------------------------------------------------------


def net_of(family, folder, genes, **sizes):
    draft(family, folder, genes=genes, sizes=tiny(family, **sizes))
    return model_of(f"{TWIN}{family}", folder).with_seed(0)


def test_without_positions_the_order_of_genes_says_nothing(genes, cells, tmp_path):
    twins = [net_of("geneformer", tmp_path / kind, genes, positions=kind) for kind in ("none", "learned")]
    tokens = next(twins[0].token_chunks(cells)).take([0])
    order = np.r_[0, np.arange(len(tokens.columns["ids"]) - 2, 0, -1), len(tokens.columns["ids"]) - 1]
    vectors = [of_tokens(twin, tokens, slice(None)) for twin in twins]
    turned = [of_tokens(twin, tokens, order) for twin in twins]
    np.testing.assert_allclose(turned[0], vectors[0], atol=1e-6)
    assert np.abs(turned[1] - vectors[1]).max() > 1e-4
    names = [set(twin.net.state_dict()) for twin in twins]
    assert names[1] - names[0] == {"positions.weight"}


def test_without_values_only_the_set_of_genes_counts(genes, cells, tmp_path):
    twins = [net_of("scgpt", tmp_path / kind, genes, values=kind) for kind in ("none", "continuous")]
    tokens = next(twins[0].token_chunks(cells)).take([0])
    vectors = [of_tokens(twin, tokens, slice(None)) for twin in twins]
    changed = [of_tokens(twin, tokens, slice(None), values=tokens.columns["values"] + 1) for twin in twins]
    assert np.array_equal(changed[0], vectors[0]) and not np.array_equal(changed[1], vectors[1])
    assert not any(name.startswith("values.") for name in twins[0].net.state_dict())


def of_tokens(twin, tokens, order, **columns):
    given = {name: column[order] for name, column in {**tokens.columns, **columns}.items()}
    with torch.inference_mode():
        return twin.embed_batch(batch_of(replace(tokens, columns=given))).numpy()


def test_the_context_of_a_draft_bounds_the_tokens_of_a_cell(genes, cells, tmp_path):
    for family in ("geneformer", "langcell", "scgpt"):
        draft(family, tmp_path / family, genes=genes, sizes=tiny(family, context=12))
        assert next(model_of(f"{TWIN}{family}", tmp_path / family).token_chunks(cells)).lengths.max() == 12
    assert next(model_of("scgpt", tmp_path / "scgpt", max_length=20).token_chunks(cells)).lengths.max() == 20
