"""Posing reconstruction: who is fitted on, who is asked, what is hidden."""

from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.errors import NotApplicable
from scrutiny.data.synth import planted
from scrutiny.tasks import reconstruction
from scrutiny.tasks.reconstruction import Masked15, Masked50, Reconstruction

CELLS = planted(200, 40, n_labels=4)


def posed(data=CELLS, task=Reconstruction):
    return task().pose(data, np.random.default_rng(0))


def test_thirty_percent_of_each_label_are_asked_and_nobody_is_fitted_on_them():
    problem = posed()
    assert not set(problem.train.cell_ids) & set(problem.query.cell_ids)
    assert problem.train.n_cells + problem.query.n_cells == 200
    labels = CELLS.role("label")
    asked = CELLS.obs.index.get_indexer(problem.query.cell_ids)
    for label in np.unique(labels):
        assert (labels[asked] == label).sum() == round(0.3 * (labels == label).sum())
    assert np.array_equal(problem.truth["labels"], labels[asked])
    assert not problem.train.has("label") and not problem.query.has("label")


def test_labels_are_not_needed_and_the_order_of_the_file_plays_no_part():
    bare = CELLS.with_roles(label=None)
    problem, backwards = posed(bare), posed(bare.take(np.arange(200)[::-1]))
    assert problem.query.n_cells == 60 and not problem.truth
    assert set(problem.query.cell_ids) == set(backwards.query.cell_ids)


def test_of_many_cells_some_are_asked_and_the_notes_say_so(monkeypatch):
    monkeypatch.setattr(reconstruction, "MOST_QUERY", 25)
    problem = posed(task=Masked15)
    assert problem.query.n_cells == 25 and problem.train.n_cells == 140
    assert problem.query.notes[-1] == "reconstruction_masked_15: 25 of the 60 cells that are not fitted on are predicted"
    backwards = posed(CELLS.take(np.arange(200)[::-1]))
    assert set(problem.query.cell_ids) == set(backwards.query.cell_ids)


def test_too_few_cells():
    with pytest.raises(NotApplicable, match="at least two"):
        posed(CELLS.take(np.arange(3)).with_roles(label=None))


def test_the_masked_tasks_differ_in_what_is_hidden_alone():
    assert [task.card.verb_options for task in (Reconstruction, Masked15, Masked50)] == [{}, {"hide": 0.15}, {"hide": 0.5}]
    same = [replace(task.card, name="", summary="", verb_options={}) for task in (Reconstruction, Masked15, Masked50)]
    assert same[0] == same[1] == same[2]
