"""The contract of nets, kept by every published model as it is read from the files of its parity fixture."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from scrutiny.core.registry import METHODS  # noqa: E402
from scrutiny.data.read import read  # noqa: E402
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
EXPECTED = {
    "cellplm": {
        "check_alone": "the cells of a sample attend to each other by design",
    }
}


def made(name, folder, shared):
    options = {"gene_list": str(shared / "reference-data/scfoundation/OS_scRNA_gene_index.19264.tsv")} if name == "scfoundation" else {}
    return METHODS.get(name)(str(folder), device="cpu", **options)


def embedded(model):
    """What gives the vectors of cells: the model with another net."""

    def compute(net, batch):
        model.net = net
        return model.embed_batch(batch)

    return compute


def one_sample(net, batch):
    """All cells of a batch as one sample of CellPLM, without noise; and what its decoder says."""
    noise = torch.zeros(batch.n_cells, net.cluster.out_features)
    latent = net(replace(batch, lengths=(batch.n_cells,), columns={"x": net.read(batch), "noise": noise}))
    return torch.cat([latent, net.decoder(latent).mean.log()], dim=1)


def every_folder():
    slow = {"scbert": pytest.mark.slow}  # 1,501 tokens a cell; a smaller one is tried with its own tests
    return [pytest.param(name, folder, marks=slow.get(name, ())) for name, folders in FOLDERS.items() for folder in folders]


@pytest.mark.parametrize(("name", "folder"), every_folder())
def test_contract(name, folder, shared):
    folder = shared / "parity" / folder
    model, cells = made(name, folder, shared), read(folder / "cells.h5ad")
    tokens = next(model.token_chunks(cells))
    check_net(
        model.make_net,
        tokens=tokens.take(tokens.lengths.argsort(kind="stable")[:N_CELLS]),
        tensors=model.tensors(model.folder),
        names=model.names,
        compute=one_sample if name == "cellplm" else embedded(model),
        expected_failures=EXPECTED.get(name),
    )


def test_no_published_model_is_left_out():
    assert {name for name in METHODS.names() if "/" not in name and METHODS.get(name).card.model is not None} == set(FOLDERS)
