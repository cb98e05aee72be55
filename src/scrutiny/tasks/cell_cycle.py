"""How much each cell expresses the genes of the two growing phases of the cell cycle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.dataset import Dataset, Scale
from scrutiny.core.errors import NotApplicable
from scrutiny.data.prepare import gene_moments, log_chunks

S_GENES = """
MCM5 PCNA TYMS FEN1 MCM2 MCM4 RRM1 UNG GINS2 MCM6 CDCA7 DTL PRIM1 UHRF1 CENPU HELLS RFC2 RPA2 NASP RAD51AP1 GMNN WDR76 SLBP CCNE2 UBR7
POLD3 MSH2 ATAD2 RAD51 RRM2 CDC45 CDC6 EXO1 TIPIN DSCC1 BLM CASP8AP2 USP1 CLSPN POLA1 CHAF1B BRIP1 E2F8
""".split()
"""Symbols of genes that rise in S phase: Tirosh et al. 2016, Science 352:189, table S5, today's names."""

G2M_GENES = """
HMGB2 CDK1 NUSAP1 UBE2C BIRC5 TPX2 TOP2A NDC80 CKS2 NUF2 CKS1B MKI67 TMPO CENPF TACC3 PIMREG SMC4 CCNB2 CKAP2L CKAP2 AURKB BUB1 KIF11
ANP32E TUBB4B GTSE1 KIF20B HJURP CDCA3 JPT1 CDC20 TTK CDC25C KIF2C RANGAP1 NCAPD2 DLGAP5 CDCA2 CDCA8 ECT2 KIF23 HMMR AURKA PSRC1 ANLN
LBR CKAP5 CENPE CTCF NEK2 G2E3 GAS2L3 CBX5 CENPA
""".split()
"""Symbols of genes that rise in G2 and mitosis, of the same source."""

EARLIER_NAMES = {"MLF1IP": "CENPU", "FAM64A": "PIMREG", "HN1": "JPT1"}
"""Names of the original table -> today's."""

MIN_GENES = 10
"""A phase with fewer genes in the data is not scored."""
N_BINS = 25
"""Bins of mean expression from which the genes to compare with are taken, as in the source."""


def phase_scores(data: Dataset) -> NDArray[np.float32]:
    """Scores (n_cells, 2) of S and of G2/M: mean log expression of the phase's genes above that of genes of like expression.

    The source compares each gene with 100 random genes of its bin of mean expression; here it is compared with all of them, so
    nothing is drawn and the score is one fixed weight per gene.

    Raises
    ------
    NotApplicable
        If one of the two lists has fewer than 10 genes in the data, or the values are scaled.
    """
    if data.scale is Scale.SCALED:
        raise NotApplicable(f"'{data.name}' holds scaled values; cell-cycle scores compare means of expression, which they have lost")
    symbols = _symbols(data)
    phases = [np.flatnonzero(np.isin(symbols, genes)) for genes in (S_GENES, G2M_GENES)]
    for name, columns in zip(("S", "G2/M"), phases, strict=True):
        if len(columns) < MIN_GENES:
            raise NotApplicable(f"'{data.name}' has {len(columns)} genes of the {name} phase by symbol; {MIN_GENES} are needed")
    bins = _expression_bins(gene_moments(log_chunks(data)).mean)
    weights = np.column_stack([_weights(columns, bins) for columns in phases])
    scores = np.empty((data.n_cells, len(phases)), dtype=np.float32)
    for start, stop, values in log_chunks(data):
        scores[start:stop] = values @ weights
    return scores


def _symbols(data: Dataset) -> NDArray[np.str_]:
    """Upper-case symbols (n_genes,), so that mouse genes match their human namesakes."""
    named = data.var["symbol"].astype(str).to_numpy(str) if "symbol" in data.var else data.genes
    return np.array([EARLIER_NAMES.get(s, s) for s in np.char.upper(np.where(named == "", data.genes, named))])


def _expression_bins(mean: NDArray[np.float64]) -> NDArray[np.intp]:
    """Bin (n_genes,) of each gene by rank of its mean: equally many genes in each, ties in the order of the columns."""
    ranks = np.empty(len(mean), dtype=np.intp)
    ranks[np.argsort(mean, kind="stable")] = np.arange(len(mean))
    return ranks * N_BINS // len(mean)


def _weights(columns: NDArray[np.intp], bins: NDArray[np.intp]) -> NDArray[np.float64]:
    """Weights (n_genes,): the mean of the listed genes less, for each of them, the mean of the unlisted genes of its bin."""
    listed = np.zeros(len(bins), dtype=bool)
    listed[columns] = True
    in_bin = np.bincount(bins[~listed], minlength=N_BINS)
    share = np.bincount(bins[columns], minlength=N_BINS) / len(columns)
    comparison = np.divide(share, in_bin, out=np.zeros(N_BINS), where=in_bin > 0)[bins]
    return np.where(listed, 1 / len(columns), -comparison)
