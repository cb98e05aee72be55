"""Several methods that tell labels, as one: the mean of what they hold likely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import ContractError, InputError, NotApplicable
from scrutiny.core.keys import digest_of_json
from scrutiny.core.labels import LabelPrediction
from scrutiny.core.options import made
from scrutiny.core.registry import METHODS

Member = str | Mapping[str, Any]


class Ensemble:
    """Mean of the probabilities of its members over all labels that one of them knows; see `scrutiny.core.protocols.PredictionReader`.

    Parameters
    ----------
    members
        Names of methods that tell labels, such as ``scgpt+knn``; or tables of ``name`` and ``options``; or one text with commas. What
        stands in the study besides is not done twice; the cost is the sum of theirs, a shared embedding counted for each.
    """

    card = MethodCard(
        "ensemble",
        "mean of the probabilities of several methods",
        scale=None,
        reads=frozenset({"label"}),
        supervised=True,
        seconds_per_1000_cells=0.01,
        seconds_to_start=0.1,
        licence="BSD-3-Clause",
    )

    def __init__(self, members: Sequence[Member] | str = ("hvg_pca+knn", "hvg_pca+logreg")) -> None:
        listed = members.split(",") if isinstance(members, str) else members
        self.members = tuple(_named(member) for member in listed)
        if len(self.members) < 2:
            raise InputError(f"an ensemble needs at least two members; found {list(listed)}")
        self._made = [made(METHODS.get(name), options=options, owner=f"the member '{name}'") for name, options in self.members]
        if deaf := [name for (name, _), method in zip(self.members, self._made) if not hasattr(method, "predict_labels")]:
            raise InputError(f"members must tell labels; {deaf} do not. Combine them with a head, e.g. '{deaf[0]}+knn'")
        self.card = _card_of(type(self).card, [method.card for method in self._made])
        self.called = f"ensemble of {', '.join(name for name, _ in self.members)}"
        lies_outside = any(set(options) & set(getattr(method, "outside_key", ())) for (_, options), method in zip(self.members, self._made))
        self.outside_key = frozenset({"members"} if lies_outside else ())

    @property
    def weights_key(self) -> str:
        """Key of the weights of the members, with their other options; '' where none has weights."""
        keys = [getattr(method, "weights_key", "") for method in self._made]
        inside = [
            {option: value for option, value in options.items() if option not in getattr(method, "outside_key", ())}
            for (_, options), method in zip(self.members, self._made)
        ]
        return digest_of_json([[name for name, _ in self.members], inside, keys]) if any(keys) or self.outside_key else ""

    def check_applies(self, data: Dataset) -> None:
        """Raise NotApplicable if a member cannot tell labels of these cells."""
        for (name, _), method in zip(self.members, self._made):
            if hasattr(method, "check_applies"):
                try:
                    method.check_applies(data)
                except NotApplicable as error:
                    raise NotApplicable(f"member {name}: {error}") from error

    def facts(self, data: Dataset) -> dict[str, Any]:
        """What a report must know: the members."""
        return {"members": [name for name, _ in self.members]}

    def fit(self, train: Dataset, *, seed: int) -> Ensemble:
        """Nothing: the members are fitted on their own."""
        return self

    def predict_labels(self, told: Sequence[LabelPrediction]) -> LabelPrediction:
        """The mean of what the members told of the same cells, in the same order. Raises ContractError if these differ."""
        first = told[0]
        if any(not np.array_equal(first.cell_ids, other.cell_ids) for other in told):
            raise ContractError("the members of an ensemble told labels of different cells")
        names = reduce(np.union1d, (prediction.label_names for prediction in told))
        total = np.zeros((first.n_cells, len(names)))
        for prediction in told:
            total[:, np.searchsorted(names, prediction.label_names)] += prediction.probabilities
        return LabelPrediction(first.cell_ids, names, (total / len(told)).astype(np.float32))


def _named(member: Member) -> tuple[str, dict[str, Any]]:
    if isinstance(member, str):
        return member.strip(), {}
    if not isinstance(member, Mapping) or not {"name"} <= member.keys() <= {"name", "options"}:
        raise InputError(f"a member of an ensemble is {member!r}; expected a name, or a table of 'name' and 'options'")
    return str(member["name"]), dict(member.get("options", {}))


def _card_of(card: MethodCard, members: Sequence[MethodCard]) -> MethodCard:
    """What all members together need, and take. Raises InputError if no data could suit them all."""
    scales = {member.scale for member in members} - {None}
    if len(scales) > 1:
        raise InputError(f"the members of an ensemble need values of one scale; they need {sorted(map(str, scales))}")
    organisms = [member.organisms for member in members if member.organisms is not None]
    reads = frozenset[str]().union(*(member.reads for member in members))
    needed = frozenset[str]().union(*(member.reads - member.optional for member in members))
    return replace(
        card,
        kind="baseline" if all(member.kind == "baseline" for member in members) else "model",
        version=f"{card.version}.{digest_of_json([member.version for member in members])[:6]}",
        scale=next(iter(scales), None),
        organisms=frozenset.intersection(*organisms) if organisms else None,
        reads=reads | card.reads,
        optional=reads - needed,
        seeded=any(member.seeded for member in members),
        together=any(member.together for member in members),
        requires=tuple(dict.fromkeys(module for member in members for module in member.requires)),
        extra=next((member.extra for member in members if member.extra), ""),
        trained_on=_seen(members),
        seconds_per_1000_cells=sum(member.seconds_per_1000_cells for member in members),
        seconds_to_start=sum(member.seconds_to_start for member in members),
        gpu=any(member.gpu for member in members),
        max_cells=min((member.max_cells for member in members if member.max_cells is not None), default=None),
        licence="; ".join(dict.fromkeys(member.licence for member in members if member.licence)),
    )


def _seen(members: Sequence[MethodCard]) -> frozenset[str] | None:
    """What any of them was trained on; None: of one it is not known."""
    return None if any(m.trained_on is None for m in members) else frozenset[str]().union(*(m.trained_on or () for m in members))
