"""The small trained models that come with the package: for demonstrations, tests and a first look at a trained transformer.

Each is a folder in ``scrutiny/minis`` that `scrutiny pretrain` made from the config beside it: weights, vocabulary, the log of the
training and the manifest of its corpus.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from scrutiny.core.cards import MethodCard, ModelCard

from .geneformer import Geneformer
from .model import Untrained, untrained_card
from .scgpt import Binning, Pooling, Scgpt

FOLDER = Path(__file__).parents[2] / "minis"
CORPUS = frozenset({"pbmc3k", "pbmc_3chem_unlabelled", "sc_mixology", "pancreas_baron_human_mouse"})
"""What all of them were trained on; the manifest beside the weights lists the cells."""
CELLS = "6,426 cells of blood, five lung-cancer cell lines and pancreas"


def _card(family: MethodCard, name: str, what: str, context: int, tokens: str, embedding: str, objective: str) -> MethodCard:
    """The card of a small model with the architecture of a family, trained on cells of at most ``context`` tokens."""
    assert family.model is not None
    model = ModelCard(
        title=name,
        architecture="transformer, 4 layers of width 128, 4 heads",
        parameters="1.9 M",
        tokens=tokens,
        vocabulary="8,000 human genes, those that most cells of its corpus express",
        context=context,
        corpus=f"{CELLS}: demonstration size, thousands of times fewer than published models saw",
        code_licence="BSD-3-Clause",
        weights_licence="BSD-3-Clause",
        commercial=True,
        source="comes with the package; scrutiny pretrain makes it again from the config beside the weights",
        embedding=embedding,
    )
    return replace(
        family,
        name=name,
        summary=f"{what}; of demonstration size, trained on {CELLS}",
        trained_on=CORPUS,
        least_seeds=1,
        seconds_per_1000_cells=15.0,
        seconds_to_start=2.0,
        licence="BSD-3-Clause",
        citation=f"architecture after {family.citation}; objective after {objective}",
        version="1",
        model=model,
    )


class MiniRank(Geneformer):
    """A small Geneformer: genes ranked by expression relative to their median, trained to name masked genes."""

    card = _card(
        Geneformer.card,
        "scrutiny/mini-rank",
        "a small rank model in the layout of Geneformer, trained to name masked genes",
        320,
        "genes by descending count / total / median of the gene",
        "second to last layer, mean over genes; options: layer, pooling",
        "Devlin et al. 2019 (BERT)",
    )

    def __init__(self, checkpoint: str = "", **options: Any) -> None:
        super().__init__(checkpoint or str(FOLDER / "rank"), **options)


class MiniBins(Scgpt):
    """A small scGPT: genes with binned expression, trained to predict masked bins from context and from the cell's vector."""

    card = _card(
        Scgpt.card,
        "scrutiny/mini-bins",
        "a small bin model in the layout of scGPT, trained to predict masked bins",
        320,
        "nonzero genes, each with its bin of 50 quantiles within the cell; <cls> first",
        "last layer, <cls>, length 1; options: layer, pooling, normalise, binning, max_length",
        "Cui et al. 2024 (GEP and GEPC of fine-tuning)",
    )

    def __init__(self, checkpoint: str = "", *, binning: Binning = "one", **options: Any) -> None:
        super().__init__(checkpoint or str(FOLDER / "bins"), binning=binning, **options)


class MiniJoint(Scgpt):
    """A small net in the layout of scGPT, trained to predict the latent of hidden genes: a joint-embedding predictive objective."""

    card = _card(
        Scgpt.card,
        "scrutiny/mini-joint",
        "a small bin model in the layout of scGPT, trained to predict the latent of hidden genes, never a token",
        256,
        "nonzero genes, each with its bin of 50 quantiles within the cell; <cls> first",
        "last layer, mean over tokens, length 1; options: layer, pooling, normalise, binning, max_length",
        "Assran et al. 2023, arXiv:2301.08243 (I-JEPA)",
    )

    def __init__(self, checkpoint: str = "", *, pooling: Pooling = "mean", binning: Binning = "one", **options: Any) -> None:
        super().__init__(checkpoint or str(FOLDER / "joint"), pooling=pooling, binning=binning, **options)


class UntrainedMiniRank(Untrained, MiniRank):
    card = untrained_card(MiniRank.card)


class UntrainedMiniBins(Untrained, MiniBins):
    card = untrained_card(MiniBins.card)


class UntrainedMiniJoint(Untrained, MiniJoint):
    card = untrained_card(MiniJoint.card)
