"""Rank sums of sparse values against scipy on the dense ones, gene by gene."""

import numpy as np
from scipy import sparse
from scipy.stats import mannwhitneyu

from scrutiny.metrics.rank_sum import rank_sum_scores


def test_the_scores_are_those_of_scipy_with_ties_and_zeros():
    rng = np.random.default_rng(0)
    values = rng.poisson(0.7, (60, 8)) * rng.integers(1, 3, (60, 8))
    values[:20, 0] += 4
    values[:, 1] = 0
    groups = np.repeat([0, 1, 2], 20)
    found = rank_sum_scores(sparse.csr_matrix(values), groups)
    for gene in range(8):
        for group in range(3):
            if gene == 1:
                assert found[gene, group] == 0, "a gene that nobody shows tells nothing"
                continue
            own, others = values[groups == group, gene], values[groups != group, gene]
            test = mannwhitneyu(own, others, method="asymptotic", use_continuity=False)
            assert np.sign(found[gene, group]) == np.sign(test.statistic - len(own) * len(others) / 2)
            from scipy.stats import norm

            np.testing.assert_allclose(2 * norm.sf(abs(found[gene, group])), test.pvalue, rtol=1e-6)
    assert found[:, 0].argmax() == 0


def test_one_group_alone_has_nothing_to_be_compared_with():
    assert (rank_sum_scores(sparse.csr_matrix(np.eye(4)), np.zeros(4, int)) == 0).all()
