"""The contract of nets, kept by every published model as it is read from the files of its parity fixture."""

import pytest

torch = pytest.importorskip("torch")

from scrutiny.core.registry import METHODS  # noqa: E402
from scrutiny.data.read import read  # noqa: E402
from scrutiny.methods.foundation.model import Foundation  # noqa: E402
from scrutiny.testing import check_net  # noqa: E402

N_CELLS = 3
FOLDERS = {
    "scgpt": ["scgpt"],
    "geneformer": ["geneformer_v1", "geneformer_v2"],
    "scfoundation": ["scfoundation"],
    "uce": ["uce"],
    "scimilarity": ["scimilarity"],
    "nicheformer": ["nicheformer"],
    "scbert": ["scbert"],
    "cellplm": ["cellplm"],
    "langcell": ["langcell"],
    "genecompass": ["genecompass"],
}
COUPLED = "all cells are embedded together by design"
EXPECTED = {"cellplm": {"check_alone": COUPLED}}
FAMILIES = [name for name in METHODS.names() if "/" not in name and name in FOLDERS]


def made(name, folder, shared):
    options = {"gene_list": str(shared / "reference-data/scfoundation/OS_scRNA_gene_index.19264.tsv")} if name == "scfoundation" else {}
    return METHODS.get(name)(str(folder), device="cpu", **options)


@pytest.mark.parametrize(("name", "folder"), [(name, folder) for name in FAMILIES for folder in FOLDERS[name]])
def test_contract(name, folder, shared):
    folder = shared / "parity" / folder
    model, cells = made(name, folder, shared), read(folder / "cells.h5ad")
    tokens = next(model.token_chunks(cells))
    tokens = tokens.take(tokens.lengths.argsort(kind="stable")[:N_CELLS])

    def compute(net, batch):
        model.net = net
        return model.embed_batch(batch)

    reasons = EXPECTED.get(name, {})
    tensors = model.tensors(model.folder)
    check_net(model.make_net, tokens=tokens, tensors=tensors, names=model.names, compute=compute, expected_failures=reasons)


def test_no_published_model_is_left_out():
    published = {name for name in METHODS.names() if "/" not in name and METHODS.get(name).card.model is not None}
    assert published == set(FAMILIES)
    assert all(issubclass(METHODS.get(name), Foundation) for name in published)
