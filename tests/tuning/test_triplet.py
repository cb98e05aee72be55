"""Triplets: mined by hand on five terms and against their definition, the loss by hand, and planted types that become separable."""

from pathlib import Path

import numpy as np
import pytest
import torch
from planted import accuracy_of_types, planted
from tiny_subjects import drawn, learn, trainee

from scrutiny.core.errors import InputError
from scrutiny.data.ontology import read_ontology
from scrutiny.nets.tokens import batch_of
from scrutiny.tuning.objectives.table import objective
from scrutiny.tuning.objectives.triplet import Triplet, mine

PARENTS = Path(__file__).parent / "cell_parents.tsv"
"""A B cell and a T cell are cells; CD4 and CD8 T cells are T cells."""
ONTOLOGY = read_ontology(PARENTS)
MARGIN = 0.05


def on_a_circle(degrees):
    angles = np.deg2rad(degrees)
    return torch.tensor(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def marked(terms, studies):
    """The columns of a draw; each cell takes the next of its candidates, in this order and round again."""
    codes = torch.from_numpy(ONTOLOGY.codes(np.array(terms)))
    return {"term": codes, "study": torch.tensor(studies), "lot": torch.arange(len(terms)) / len(terms)}


def mined(vectors, cells, margin=MARGIN):
    return mine(vectors, cells, torch.from_numpy(ONTOLOGY.comparable()), margin)


TERMS = ["CL:CD4", "CL:CD4", "CL:CD4", "CL:T", "CL:CD8", "CL:B", ""]
DEGREES = [0, 10, 5, 11, 12, 40, 12]


def test_triplets_by_hand():
    """The positive of cells 0 and 2 is 1, of another study. For 0 it is 0.174 away and the CD8 cell, 4, 0.209; for 2 0.087 and 0.122: both
    semi-hard. Cell 1 has 4 nearer than its positive and the B cell, 5, too far. A T cell is in no triplet of a CD4 cell, though it is in
    the right place; 3, 4 and 5 have no other of their type; 6 has no term.
    """
    found = mined(on_a_circle(DEGREES), marked(TERMS, [0, 1, 0, 1, 0, 1, 0]))
    assert found.triplets.T.tolist() == [[0, 1, 4], [2, 1, 4]]
    assert found.anchors == pytest.approx(3 / 7) and found.semi_hard == pytest.approx(2 / 3)
    assert found.in_order == pytest.approx(2 / 3)  # cell 1 draws 4


def test_a_positive_of_the_same_study_where_there_is_no_other():
    found = mined(on_a_circle(DEGREES), marked(TERMS, [0, 0, 0, 0, 0, 0, 0]))
    assert found.triplets.T.tolist() == [[0, 1, 4], [2, 0, 4]]  # 1 draws 2


def test_margins_bound_what_is_semi_hard():
    cells = marked(TERMS, [0, 1, 0, 1, 0, 1, 0])
    assert mined(on_a_circle(DEGREES), cells, margin=0.03).triplets.shape == (3, 0)
    assert mined(on_a_circle(DEGREES), cells, margin=0.6).semi_hard == 1


def test_mining_against_the_definition():
    rng = np.random.default_rng(0)
    n = 60
    vectors = torch.nn.functional.normalize(torch.tensor(rng.normal(size=(n, 3))), dim=1)
    terms, studies = rng.choice(["CL:B", "CL:T", "CL:CD4", "CL:CD8", "CL:cell", ""], n), rng.integers(0, 3, n)
    cells = {**marked(terms, studies), "lot": torch.tensor(rng.random(n))}
    found = mined(vectors, cells, margin=0.2)
    away = np.linalg.norm(vectors.numpy()[:, None] - vectors.numpy(), axis=2)
    apart = [{"CL:B", other} for other in ("CL:T", "CL:CD4", "CL:CD8")] + [{"CL:CD4", "CL:CD8"}]
    triplets = {anchor: (positive, negative) for anchor, positive, negative in found.triplets.T.tolist()}
    n_anchors = 0
    for i in range(n):
        same = [j for j in range(n) if j != i and terms[j] == terms[i] != ""]
        negatives = [j for j in range(n) if {terms[i], terms[j]} in apart]
        n_anchors += bool(same and negatives)
        if i in triplets:
            positive, negative = triplets[i]
            assert positive in ([j for j in same if studies[j] != studies[i]] or same)
            assert negative in negatives and away[i, positive] < away[i, negative] < away[i, positive] + 0.2
    assert found.anchors == pytest.approx(n_anchors / n)
    assert found.semi_hard == pytest.approx(len(triplets) / n_anchors) and 0.3 < found.semi_hard <= 1
    assert len({positive for positive, _ in triplets.values()}) > len(triplets) / 2  # not a few for all


def labelled(family, **options):
    subject, made, _ = trainee(family, "triplet", options={"ontology": str(PARENTS), **options})
    cells, types = planted()
    return subject, made, cells, types


def test_the_loss_by_hand_without_a_decoder():
    """0.174 - 0.209 + 0.05 and 0.087 - 0.122 + 0.05."""
    subject, made, cells, _ = labelled("geneformer")
    cells = cells.take(np.arange(7))._replace(ontology=np.array(TERMS), studies=np.array(list("ababaab")))
    batch = drawn(subject, made, cells)
    batch.cells["lot"][:] = torch.arange(7) / 7
    vectors = on_a_circle(DEGREES).float()
    loss = made(type(subject)(**{**vars(subject), "cells": lambda batch: 3 * vectors}), batch)  # of whatever length
    away = [2 * np.sin(np.deg2rad(degrees / 2)) for degrees in (10, 12, 5, 7)]
    assert made.weight == 1
    assert loss.total.item() == pytest.approx((away[0] - away[1] + away[2] - away[3] + 2 * MARGIN) / 2, abs=1e-5)
    assert set(loss.parts) == {"triplet", "anchors", "semi_hard", "in_order"}


def test_the_loss_with_a_decoder():
    subject, made, cells, _ = labelled("scimilarity", weight=0.25)
    batch = drawn(subject, made, cells)
    counts = cells.counts.toarray().astype(np.float64)
    true = np.log1p(counts / counts.sum(1, keepdims=True) * 10_000)
    with torch.no_grad():
        loss, predicted = made(subject, batch), subject.net.decoder(subject.net(batch)).numpy()
    error = ((predicted[:, subject.gene_tokens] - true) ** 2).mean()
    assert loss.parts["reconstruction"].item() == pytest.approx(error, rel=1e-4)
    assert loss.total.item() == pytest.approx(0.25 * loss.parts["triplet"].item() + 0.75 * error, rel=1e-4)


def test_cells_without_terms_teach_nothing():
    subject, made, cells, _ = labelled("geneformer")
    loss = made(subject, drawn(subject, made, cells._replace(ontology=np.full(cells.n_cells, ""))))
    loss.total.backward()
    assert loss.total == 0 and loss.parts["anchors"] == 0
    assert all(weight.grad is None or not weight.grad.any() for weight in subject.net.parameters())


def test_what_it_says_of_itself_and_refuses(tmp_path):
    assert Triplet.reads_labels
    subject, made, cells, _ = labelled("geneformer")
    with pytest.raises(InputError, match="no term CL:zebra"):
        made.draw(cells._replace(ontology=np.full(cells.n_cells, "CL:zebra")), subject, np.random.default_rng(0))
    for options in ({"margin": 0.0}, {"weight": 0.0}, {"weight": 1.5}):
        with pytest.raises(InputError, match=next(iter(options))):
            labelled("geneformer", **options)
    assert objective("triplet", subject, {"ontology": PARENTS.name}, PARENTS.parent).ontology.terms.tolist() == ONTOLOGY.terms.tolist()
    with pytest.raises(InputError, match="cannot be read"):
        objective("triplet", subject, {"ontology": PARENTS.name}, tmp_path)
    with pytest.raises(InputError, match="ontology"):
        objective("triplet", subject, {})


@pytest.mark.parametrize("family", ["geneformer", "scimilarity"])
def test_planted_types_become_separable(family):
    subject, made, cells, types = labelled(family)
    before = accuracy_of_types(subject, cells, types)
    rng = np.random.default_rng(0)
    fixed = drawn(subject, made, cells)
    with torch.no_grad():
        first = made(subject, fixed)
    learn(subject, made, lambda: batch_of(made.draw(cells.take(rng.permutation(120)[:60]), subject, rng)), steps=40, rate=5e-3)
    with torch.no_grad():
        last = made(subject, fixed)
    assert accuracy_of_types(subject, cells, types) > max(before + 0.05, 0.95)
    assert last.parts["in_order"] > first.parts["in_order"] + 0.1 and first.parts["semi_hard"] > 0
