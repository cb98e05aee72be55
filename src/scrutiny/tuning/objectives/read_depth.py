"""Read depth: the net is shown a cell as if it had been sequenced less deeply, and predicts it as it is."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from scrutiny.core.errors import InputError
from scrutiny.data.thinning import molecules
from scrutiny.nets.tokens import Tokens
from scrutiny.tuning.subject import Cells, Subject

from .values import MaskedValues

KEPT = (2.0, 2.0)
"""Of the share of its counts that a thinned cell keeps: a Beta distribution with these parameters."""


class ReadDepth(MaskedValues):
    """Predict hidden genes at the depth of the cell from others at a lower one, as scFoundation.

    A cell is shown thinned, or else as it is. A token tells the depth of what is shown, another one the depth that is asked for. Thinning
    is in two steps, as in the paper: the share of the counts that is kept is drawn for the cell, and each gene binomially by this share.
    The code of that is not public; the distribution of the share is ours (`KEPT`). As in the paper, hidden genes are never shown; the code
    has settings for showing a few of them as they are.

    Parameters
    ----------
    thinned
        Chance that a cell is thinned.
    share, zeros
        Of the genes that are hidden, see `MaskedValues`.
    """

    name: ClassVar[str] = "read_depth"
    needs: ClassVar[tuple[str, ...]] = (*MaskedValues.needs, "depths")

    def __init__(self, subject: Subject, *, thinned: float = 0.5, share: float = 0.3, zeros: float = 0.03) -> None:
        super().__init__(subject, share=share, zeros=zeros)
        if not 0 <= thinned <= 1:
            raise InputError(f"the objective {self.name} is to thin a share of {thinned} of the cells; expected 0 to 1")
        self.thinned = thinned

    def draw(self, cells: Cells, subject: Subject, rng: np.random.Generator) -> Tokens:
        return self.hide(subject.tokenise(self.thin(cells, rng)), subject.tokenise(cells), subject, rng)

    def thin(self, cells: Cells, rng: np.random.Generator) -> Cells:
        """The cells, some with fewer counts; a gene that lost all of its own is still stored, so that the tokens stay the same.

        Raises
        ------
        InputError
            If counts are no whole numbers.
        """
        counts = cells.counts
        kept = np.where(rng.random(cells.n_cells) < self.thinned, rng.beta(*KEPT, size=cells.n_cells), 1.0)
        left = counts.copy()
        left.data[:] = rng.binomial(molecules(counts), np.repeat(kept, np.diff(counts.indptr)))
        return cells._replace(counts=left, totals=cells.totals * kept)
