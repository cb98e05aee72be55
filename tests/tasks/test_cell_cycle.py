"""Cell-cycle scores: the gene lists, a planted cycle, and agreement with scanpy's sampled version."""

from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.dataset import Scale
from scrutiny.core.errors import NotApplicable
from scrutiny.data.read import read
from scrutiny.data.synth import planted
from scrutiny.tasks.cell_cycle import EARLIER_NAMES, G2M_GENES, S_GENES, phase_scores


def cycling(names):
    """Every other cell expresses the genes of S phase threefold; the genes bear these names."""
    cells = planted(100, 200, label_effect=0.0, batch_effect=0.0)
    counts = cells.values.toarray()
    counts[::2, : len(S_GENES)] *= 3
    matrix = type(cells.matrix)(counts)
    return replace(cells, matrix=matrix, var=cells.var.set_axis([*names, *cells.genes[len(names) :]]))


def test_lists_have_the_sizes_of_the_source():
    """Tirosh et al. 2016, table S5: 43 and 54 genes."""
    assert (len(set(S_GENES)), len(set(G2M_GENES))) == (43, 54)
    assert not set(S_GENES) & set(G2M_GENES)
    assert set(EARLIER_NAMES.values()) <= {*S_GENES, *G2M_GENES}


def test_a_planted_s_phase_is_seen_and_g2m_is_not():
    scores = phase_scores(cycling([*S_GENES, *G2M_GENES]))
    assert scores.shape == (100, 2)
    assert scores.dtype == np.float32
    high, low = scores[::2], scores[1::2]
    assert high[:, 0].min() > low[:, 0].max()
    assert abs(high[:, 1].mean() - low[:, 1].mean()) < 0.5 * abs(high[:, 0].mean() - low[:, 0].mean())


def test_mouse_and_earlier_names_and_a_symbol_column_are_understood():
    today = cycling([*S_GENES, *G2M_GENES])
    earlier = {new: old for old, new in EARLIER_NAMES.items()}
    mouse = [earlier.get(g, g).capitalize() for g in (*S_GENES, *G2M_GENES)]
    np.testing.assert_array_equal(phase_scores(cycling(mouse)), phase_scores(today))
    by_column = replace(today, var=today.var.assign(symbol=today.genes).set_axis([f"ENSG{i:011d}" for i in range(200)]))
    np.testing.assert_array_equal(phase_scores(by_column), phase_scores(today))


def test_too_few_genes_and_scaled_values_are_not_applicable():
    with pytest.raises(NotApplicable, match="0 genes of the S phase"):
        phase_scores(planted(20, 30))
    with pytest.raises(NotApplicable, match="scaled"):
        phase_scores(replace(cycling([*S_GENES, *G2M_GENES]), scale=Scale.SCALED))


def test_scores_follow_scanpys(shared_data):
    """scanpy compares with a random draw of genes of like expression, ours with all of them."""
    scanpy = pytest.importorskip("scanpy")
    anndata = pytest.importorskip("anndata")
    cells = read(shared_data / "kang_ifnb.h5ad").take(np.arange(500))
    ours = phase_scores(cells)
    symbols = cells.var["symbol"].to_numpy(str)
    table = anndata.AnnData(cells.values, var=cells.var.set_axis(symbols))
    table.var_names_make_unique()
    scanpy.pp.normalize_total(table, target_sum=1e4)
    scanpy.pp.log1p(table)
    for column, genes in enumerate((S_GENES, G2M_GENES)):
        scanpy.tl.score_genes(table, np.intersect1d(genes, symbols), ctrl_size=100, random_state=0, score_name="theirs")
        assert np.corrcoef(table.obs["theirs"], ours[:, column])[0, 1] > 0.9
