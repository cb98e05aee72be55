"""Values of hidden genes and read depth: what the net is told, from the counts by hand, and the loss cell by cell."""

import numpy as np
import pytest
import torch
from tiny_subjects import N_GENES, drawn, trainee

from scrutiny.core.errors import InputError
from scrutiny.nets.tokens import Batch, batch_of

MANY = 200


def dense(tokens, column, n_genes=N_GENES):
    """A column of the gene tokens as (n_cells, n_genes), 0 elsewhere; tokens are numbered as genes are in both families."""
    out = np.zeros((tokens.n_cells, n_genes), tokens.columns[column].dtype)
    for cell in range(tokens.n_cells):
        is_gene = tokens.of(cell, "is_gene")
        out[cell, tokens.of(cell)[is_gene]] = tokens.of(cell, column)[is_gene]
    return out


def logged(counts):
    """ln(1 + 1e4 count / total)."""
    return np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("family", ["scfoundation", "cellplm"])
def test_hidden_genes_are_not_shown(family):
    subject, made, cells = trainee(family, "masked_values")
    tokens = made.draw(cells, subject, np.random.default_rng(0))
    hidden, shown = tokens.cells["hidden"][:, :N_GENES], dense(tokens, "shown")
    expressed = cells.counts.toarray() > 0
    assert np.array_equal(shown, expressed & ~hidden)
    assert not tokens.cells["hidden"][:, N_GENES:].any(), "tokens of depth are no genes"
    n_depths = np.array([(~tokens.of(cell, "is_gene")).sum() for cell in range(tokens.n_cells)])
    assert np.array_equal(tokens.cells["n_seen"], shown.sum(axis=1) + n_depths) and set(n_depths) == {2 if family == "scfoundation" else 0}


def test_shares_of_what_is_hidden():
    """Hao et al. 2024: 30 % of the expressed genes, 3 % of the others."""
    subject, made, cells = trainee("scfoundation", "masked_values")
    rng = np.random.default_rng(0)
    hidden = np.mean([made.draw(cells, subject, rng).cells["hidden"][:, :N_GENES] for _ in range(MANY)], axis=0)
    expressed = cells.counts.toarray() > 0
    assert hidden[expressed].mean() == pytest.approx(0.3, abs=0.01) and hidden[~expressed].mean() == pytest.approx(0.03, abs=0.003)


def test_what_is_told_of_depth_and_values():
    subject, made, cells = trainee("scfoundation", "masked_values")
    tokens = made.draw(cells, subject, np.random.default_rng(0))
    counts = cells.counts.toarray().astype(float)
    source, target = subject.depths
    for token in (source, target):
        given = tokens.columns["values"][tokens.columns["ids"] == token]
        np.testing.assert_allclose(given, np.log10(counts.sum(axis=1)), rtol=1e-6)
    np.testing.assert_allclose(dense(tokens, "values"), logged(counts), rtol=1e-5)
    np.testing.assert_allclose(dense(tokens, "true"), logged(counts), rtol=1e-5)


@pytest.mark.parametrize("name", ["masked_values", "read_depth"])
def test_the_loss_is_the_mean_squared_error_cell_by_cell(name):
    """Each cell by itself and without the hidden tokens, through encoder, decoder of all genes, and head; true values from the counts."""
    subject, made, cells = trainee("scfoundation", name)
    tokens = made.draw(cells, subject, np.random.default_rng(1))
    net, true, errors = subject.net, logged(cells.counts.toarray().astype(float)), []
    for cell in range(tokens.n_cells):
        shown, hidden = tokens.of(cell, "shown"), tokens.cells["hidden"][cell, :N_GENES]
        columns = {column: torch.from_numpy(tokens.of(cell, column)[shown]) for column in ("ids", "values")}
        batch = Batch((int(shown.sum()),), columns, {"masked": torch.from_numpy(hidden)[None]}, torch.device("cpu"))
        with torch.no_grad():
            predicted = net.expression(net.decode(net(batch), batch))[0].double().numpy()
        errors.append((predicted - true[cell])[hidden] ** 2)
    expressed = [true[cell][tokens.cells["hidden"][cell, :N_GENES]] > 0 for cell in range(tokens.n_cells)]
    errors, expressed = np.concatenate(errors), np.concatenate(expressed)
    loss = made(subject, batch_of(tokens))
    assert loss.total.item() == pytest.approx(errors.mean(), rel=1e-4)
    assert float(loss.parts["expressed"]) == pytest.approx(errors[expressed].mean(), rel=1e-4)
    assert float(loss.parts["not_expressed"]) == pytest.approx(errors[~expressed].mean(), rel=1e-4)


def test_cellplm_predicts_log_counts_of_a_sample():
    subject, made, cells = trainee("cellplm", "masked_values")
    batch, net = drawn(subject, made, cells), subject.net
    hidden, shown = batch.cells["hidden"].numpy(), batch.columns["shown"].numpy()
    counts = cells.counts.toarray()
    given = torch.from_numpy(np.where(hidden, 0.0, np.log1p(counts)).astype(np.float32))
    with torch.no_grad():
        x = net.cell_norm(torch.relu(net.cell(given @ net.genes.weight)))
        h = net.norm(net.encode(x, (len(counts),)))
        likeliest = torch.eye(net.cluster.out_features)[net.cluster(h).argmax(dim=1)]
        latent = net.latent(torch.relu(net.latent_hidden(torch.cat([h, likeliest], dim=1))))
        errors = (torch.log1p(net.decoder(latent).mean).numpy() - np.log1p(counts))[hidden] ** 2
    assert shown.sum() == (given > 0).sum()
    assert made(subject, batch).total.item() == pytest.approx(errors.mean(), rel=1e-4)


# Read depth -----------------------------------------------------------------------------------------------------------------------


def test_a_thinned_cell_is_shown_at_its_depth_and_asked_for_at_the_true_one():
    subject, made, cells = trainee("scfoundation", "read_depth", options={"thinned": 1.0})
    rng = np.random.default_rng(3)
    tokens = made.draw(cells, subject, rng)
    thinned = made.thin(cells, np.random.default_rng(3)).counts.toarray().astype(float)  # what that generator draws first
    counts = cells.counts.toarray().astype(float)
    assert (thinned <= counts).all() and (thinned.sum(axis=1) < counts.sum(axis=1)).all() and (thinned > 0).any()
    np.testing.assert_allclose(dense(tokens, "values"), logged(thinned), rtol=1e-5)
    np.testing.assert_allclose(dense(tokens, "true"), logged(counts), rtol=1e-5)
    depths = [tokens.columns["values"][tokens.columns["ids"] == token] for token in subject.depths]
    np.testing.assert_allclose(depths, np.log10([thinned.sum(axis=1), counts.sum(axis=1)]), rtol=1e-6)
    lost = (thinned == 0) & (counts > 0)
    assert lost.any() and not dense(tokens, "shown")[lost].any()


def test_how_much_is_kept():
    """A half of the cells as they are; of the others a share of Beta(2, 2), which has the mean 1/2 and the variance 1/20."""
    subject, made, cells = trainee("scfoundation", "read_depth")
    deep = cells._replace(counts=cells.counts * 1000)
    rng = np.random.default_rng(0)
    kept = np.concatenate([made.thin(deep, rng).counts.sum(axis=1).A1 / deep.counts.sum(axis=1).A1 for _ in range(MANY)])
    as_they_are, share = kept == 1, kept[kept < 1]
    assert as_they_are.mean() == pytest.approx(0.5, abs=0.04)
    assert share.mean() == pytest.approx(0.5, abs=0.03) and share.var() == pytest.approx(0.05, abs=0.006)


def test_never_thinned_is_masked_values():
    one, other = (trainee("scfoundation", *told) for told in (("read_depth",), ("masked_values",)))
    one[1].thinned = 0.0
    tokens = one[1].draw(one[2], one[0], np.random.default_rng(0))
    assert np.array_equal(dense(tokens, "values"), dense(tokens, "true"))
    assert np.array_equal(tokens.columns["values"], other[1].draw(other[2], other[0], np.random.default_rng(0)).columns["values"])


def test_only_whole_counts_can_be_thinned():
    subject, made, cells = trainee("scfoundation", "read_depth")
    with pytest.raises(InputError, match="only whole counts can be thinned"):
        made.draw(cells._replace(counts=cells.counts * 0.5), subject, np.random.default_rng(0))
