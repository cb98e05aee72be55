"""What methods do once before they are fitted, whatever the data: trainings of their own, one for each set of options and seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrutiny.core.keys import digest_of_json

from .embedding import Chosen

if TYPE_CHECKING:
    from .plan import Planned


@dataclass(frozen=True)
class Preparation:
    """One training. ``called``: the name of the method to the reader; ``seconds``: a rough estimate."""

    chosen: Chosen
    called: str
    seed: int
    seconds: float

    def carry_out(self, tell: Callable[[Any], None]) -> None:
        """Train, or go on where it was stopped; ``tell`` is called with how far it is, in the method's own terms."""
        self.chosen.make().prepare(self.seed, tell)

    def is_done(self) -> bool:
        return bool(self.chosen.make().is_prepared(self.seed))


def preparations(runs: Iterable[Planned]) -> list[Preparation]:
    """Those that these Runs rest on, done or not, each once: the heads on a net share its training."""
    found: dict[str, Preparation] = {}
    for run in runs:
        if run.seconds_to_prepare is not None:
            method, _, head = run.spec.method.partition("+")
            key = digest_of_json([method, dict(run.spec.method_options), run.spec.seed])
            called = run.called.removesuffix(f"+{head}") if head else run.called
            found.setdefault(key, Preparation(run.chosen, called, run.spec.seed, run.seconds_to_prepare))
    return list(found.values())
