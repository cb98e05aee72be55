"""Models that are adapted to labels: ``geneformer+lora``, ``scgpt+full``; how and with what is trained is `scrutiny.tuning.adaptation`.

Adapters are kept in the user's cache by the content that they depend on, so a killed training goes on and a finished one is found again.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import platformdirs
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError
from scrutiny.core.keys import digest_of_json
from scrutiny.core.labels import LabelPrediction
from scrutiny.core.options import as_declared, made, parameters_of
from scrutiny.core.registry import METHODS
from scrutiny.data.catalog import Exposure
from scrutiny.data.checkpoints import MANIFEST, RECORD, record
from scrutiny.data.splits import groups_of
from scrutiny.methods.annotation.search import MAX_FOLDS, TRIALS, searching_card, told_of_search
from scrutiny.nets.folder import Folder
from scrutiny.nets.tokens import Batch
from scrutiny.nets.weights import build, load
from scrutiny.tuning.adaptation.files import ABOUT, TENSORS, check_base, is_whole, key_of, read_about
from scrutiny.tuning.adaptation.recipe import Recipe
from scrutiny.tuning.adaptation.ways import Adapters, Full, Ia3, Last, Lora, Way
from scrutiny.tuning.loop import Report

from .adapting import GROUPS, Adapting, Learnt, Opened, about_of, over_cells, restored
from .drafts import save
from .model import Published
from .pretrained import Net
from .pretraining import ignore
from .subjects import subject_of

VERSION = "1"
"""Rises when the same options give other weights."""
RATES, EPOCHS = (1e-5, 5e-5, 2e-4, 1e-3, 3e-3), (3.0, 10.0, 30.0)
"""That a search chooses from, beside the defaults."""
LOG = "log.csv"
PASSES = 15.0
"""What a training takes, in passes of a plain embedding over its cells, for estimates only: the way back costs twice the way forth."""
FORWARDED = ("prepare", "is_prepared", "seconds_to_prepare", "gpu")


def adapters_folder() -> Path:
    """Where adapters are kept unless a folder is named: the user's cache, under ``scrutiny/adapted``."""
    return platformdirs.user_cache_path("scrutiny") / "adapted"


@dataclass(frozen=True)
class WayCard:
    """What is to be known of a way to adapt. ``version`` rises when its numbers change."""

    name: str
    summary: str
    citation: str
    version: str = VERSION
    seeded: bool = True
    space: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """Options that a search may choose -> the values that it chooses from."""


class Adapted:
    """A model, one of its adaptations, and a linear head on the vector of a cell.

    Takes the options of the way to adapt, those of the `Recipe`, those of the model, and three of its own:

    Parameters
    ----------
    trials
        Learning rates, epochs and sizes that are tried on parts of the training cells, as heads do (`search_by_validation`); 0: none.
    adapter
        Folder of an adapter that `scrutiny adapt` wrote: it is used, and nothing is learnt from the training cells.
    adapters
        Folder that adapters are kept in; by default `adapters_folder`.
    """

    card: MethodCard
    way_card: ClassVar[WayCard]
    way_class: ClassVar[type]
    embedder: ClassVar[str]
    model_class: ClassVar[type]
    places: ClassVar[dict[str, Any]] = {"adapter": str, "adapters": str}

    def __init__(self, adapter: str = "", adapters: str = "", trials: int = 0, **options: Any) -> None:
        own = {name: parameters_of(cls) for name, cls in (("way", self.way_class), ("recipe", Recipe))}
        taken = {part: {name: value for name, value in options.items() if name in known} for part, known in own.items()}
        self.way: Way = made(self.way_class, options=taken["way"], owner=f"the way '{self.way_card.name}'")
        self.recipe: Recipe = made(Recipe, options=taken["recipe"], owner=f"the way '{self.way_card.name}'")
        self.model_options = {name: value for name, value in options.items() if not any(name in known for known in own.values())}
        self.model: Any = self.model_class(**as_declared(self.model_options, parameters_of(self.model_class)))
        if getattr(self.model, "compat", "alone") == "official":
            raise InputError(f"{self.card.name}: compat is 'official', where cells of a batch change each other; only 'alone' is adapted")
        self.adapter, self.adapters = Path(adapter) if adapter else None, Path(adapters) if adapters else adapters_folder()
        self.outside_key = getattr(self.model, "outside_key", frozenset()) | self.places.keys()
        card = adapted_card(type(self).card.name, self.way_card, self.model.card)
        self.card = searching_card(card, trials, seconds_per_trial=MAX_FOLDS * card.seconds_per_1000_cells)
        self.trials, self.options = trials, options
        if known := getattr(self.model, "called", ""):
            self.called = f"{known}+{self.way_card.name}"
        self.told: dict[str, Any] = {}

    @classmethod
    def option_types(cls) -> dict[str, Any]:
        """Options of the way, of the recipe and of the model, name to declared type."""
        tables = ({**cls.places, TRIALS: int}, parameters_of(cls.way_class), parameters_of(Recipe), parameters_of(cls.model_class))
        found: dict[str, Any] = {}
        for table in tables:
            if both := found.keys() & table.keys():
                raise InputError(f"{cls.card.name}: way and model both have the option {sorted(both)}; rename that of the way")
            found |= table
        return found

    def check_applies(self, data: Dataset) -> None:
        """Raise NotApplicable if the model knows too few genes of the data."""
        self.model.check_applies(data)

    def facts(self, data: Dataset) -> dict[str, Any]:
        """What a report must know: what the model tells, and how it is adapted."""
        how = {"way": self.way_card.name, **vars(self.way), **vars(self.recipe)}
        told = dict(self.model.facts(data))
        if self.learnt_elsewhere and told.get("exposure", {}).get("answer") != "seen":
            told |= {"exposure": asdict(Exposure("unknown", "Which cells the named adapter learnt from is not recorded."))}
        return {**told, "embedder": self.embedder, "head": self.way_card.name, "adaptation": how}

    @property
    def learnt_elsewhere(self) -> bool:
        """Whether it learns nothing from the training cells, but has learnt from cells that nobody recorded: these may be among them."""
        return self.adapter is not None

    def seconds_per_1000_cells(self, data: Dataset) -> float:
        """Rough estimate, for plans."""
        passes = 1.0 if self.adapter else PASSES
        return float(self.model.seconds_per_1000_cells(data)) * passes

    @property
    def weights_key(self) -> str:
        """Key of the weights that are adapted and, where an adapter is named, of that."""
        own = str(self.model.weights_key)
        return own if self.adapter is None else digest_of_json([own, key_of(self.adapter)])

    # Learning --------------------------------------------------------------------------------------------------------------------

    def fit(self, train: Dataset, *, seed: int, tell: Callable[[Report], None] = ignore) -> Self:
        """Learn from the labelled cells, unless that was done before.

        Raises
        ------
        NotApplicable
            If they have fewer than two labels, or the model cannot be adapted in this way.
        InputError
            If an adapter is named and belongs to another model.
        """
        self.seed, self.seconds_earlier = seed, 0.0
        if self.adapter is not None:
            self._take(self.adapter, train)
            return self
        if self.trials:
            self._search(train, seed)
        model = self._loaded(seed)
        learnt = Learnt(model, train, seed=seed)
        place = self.place(train, seed)
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(f".{place.name}.lock")):
            if is_whole(place):
                self.seconds_earlier += float(read_about(place).trained["seconds"])
                self._take(place, train)
            else:
                self._learn(model, learnt, place, tell)
        return self

    def _search(self, train: Dataset, seed: int) -> None:
        """Take the options that do best on parts of the training cells; what the trials learnt is kept like any adapter."""
        plain = {**self.options, "adapters": str(self.adapters)}

        def answer(options: Mapping[str, Any], learnt: NDArray[np.intp], told: NDArray[np.intp]) -> NDArray[np.str_]:
            method = type(self)(**{**plain, **options}).fit(train.take(learnt), seed=seed)
            self.seconds_earlier += method.seconds_earlier
            return method.predict_labels(train.take(told).hide("label")).labels

        self.told = told_of_search(self.space, answer, train.role("label"), groups_of(train), trials=self.trials, seed=seed)
        chosen = type(self)(**{**plain, **self.told["search"]["chosen"]})
        self.way, self.recipe = chosen.way, chosen.recipe

    @property
    def space(self) -> dict[str, tuple[Any, ...]]:
        """Options that a search may choose -> the values that it chooses from, those that are set first."""
        first = {**vars(self.recipe), **vars(self.way)}
        first["learning_rate"] = first["learning_rate"] or self.way.learning_rate
        known = {"learning_rate": RATES, "epochs": EPOCHS, **self.way_card.space}
        return {name: tuple(dict.fromkeys((first[name], *values))) for name, values in known.items()}

    def place(self, train: Dataset, seed: int) -> Path:
        """Folder of the adapter for these cells and this seed."""
        shown = [train.fingerprint, train.gene_names_key, train.column_key(("label", *GROUPS)), seed]
        how = [self.way_card.name, vars(self.way), vars(self.recipe), getattr(self.model, "precision", ""), self.card.version]
        key = digest_of_json([self._base(seed), self._use, how, shown])
        return self.adapters / f"{self.card.name.replace('/', '_')}-{key}"

    def _learn(self, model: Published, learnt: Learnt, place: Path, tell: Callable[[Report], None]) -> None:
        about = about_of(
            model,
            learnt,
            base=self._base(self.seed),
            base_options=self._use,
            way=self.way_card.name,
            options=vars(self.way),
            seed=self.seed,
        )
        adapting = Adapting(model, learnt, self.way, self.recipe, place, about, place.name, self.seed)
        self.seconds_earlier += adapting.carry_out(tell)
        self._use_of(model, adapting.opened, place, about.labels)

    def _take(self, folder: Path, data: Dataset) -> None:
        """Use the adapter that lies in a folder."""
        about = read_about(folder)
        if about.way != self.way_card.name:
            raise InputError(f"the adapter in {folder} was made by '{about.way}'; take {self.embedder}+{about.way}")
        way = made(self.way_class, options=about.options, owner=f"{folder}: options")
        model = self._loaded(about.seed)
        check_base(about, family=model.card.name, base=self._base(about.seed), options=self._use, folder=folder)
        self._use_of(model, restored(model, data, way, about, folder), folder, about.labels)

    def _use_of(self, model: Published, opened: Opened, folder: Path, labels: list[str]) -> None:
        self.n_trainable, self.labels = opened.n_trainable, labels
        self.adapted, self.opened = model, opened.close()
        self.folder, self.told = folder, {**self.told, "adapted": dict(read_about(folder).trained)}

    def _loaded(self, seed: int) -> Published:
        return self.model.loaded(seed) if hasattr(self.model, "loaded") else self.model.with_seed(seed)

    def _base(self, seed: int) -> str:
        """Key of the weights that are adapted, those of an untrained twin or of a net of one seed included."""
        return digest_of_json([str(self.model.weights_key), seed if self.model.card.seeded else None])

    @cached_property
    def _use(self) -> dict[str, Any]:
        """Options of the model that the vectors depend on, as plain values."""
        return {name: value for name, value in self.model_options.items() if name not in (*self.outside_key, "precision")}

    # Telling ---------------------------------------------------------------------------------------------------------------------

    def predict_labels(self, query: Dataset) -> LabelPrediction:
        if "opened" not in self.__dict__:  # in another process than the one that fitted
            self._take(self.folder, query)
        model, head = self.adapted, self.opened.head
        subject = subject_of(model, model.match(query))

        def chances(batch: Batch) -> Tensor:
            return torch.softmax(head(subject.cells(batch)), dim=1)

        values = over_cells(model, subject, query, chances, seed=self.seed)
        return LabelPrediction(query.cell_ids, np.array(self.labels, dtype=str), values)

    # Writing ---------------------------------------------------------------------------------------------------------------------

    def write_adapter(self, folder: Path) -> None:
        """Copy the adapter, and the log of its training, into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for file in (TENSORS, LOG, ABOUT):  # the record last
            if (self.folder / file).is_file():
                shutil.copyfile(self.folder / file, folder / file)

    def write_model(self, folder: Path) -> None:
        """Write the adapted net as a folder in the official layout of its family, beside whose other files its weights lie; no labels.

        Raises
        ------
        InputError
            If the folder is there already, or bottlenecks were put in, for which the layout has no names.
        """
        if self.way_card.name == "adapters":
            raise InputError("bottlenecks of adapters cannot be part of the model's own weights; lora, ia3, last and full can")
        if folder.exists():
            raise InputError(f"{folder} is there already; name a new folder")
        base: Path = self.adapted.folder.path
        shutil.copytree(base, folder)
        (folder / MANIFEST).unlink(missing_ok=True)
        written = copy.copy(self.adapted)
        written.__dict__.update(net=self.adapted.net, folder=Folder(folder))
        save(written)
        again = build(written.make_net)
        load(again, written.tensors(Folder(folder)), written.names, source=str(folder))
        if not all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in written.net.cpu().state_dict().items()):
            raise InputError(f"{folder} has weights in another file too, which come first when they are read: remove that one")
        (folder / RECORD).write_text(json.dumps({**record(base), "adapted": asdict(read_about(self.folder))}, indent=1), "utf-8")

    def __reduce__(self) -> tuple[Any, ...]:
        """The class lies in no module, so another process finds it by its name; the adapted net it reads from the adapter."""
        return _blank, (type(self).card.name,), {name: value for name, value in vars(self).items() if name not in ("adapted", "opened")}

    def __getattr__(self, name: str) -> Any:
        if name in FORWARDED:
            return getattr(self.model, name)
        raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}'")


def _blank(name: str) -> Adapted:
    cls = METHODS.get(name)
    made: Adapted = cls.__new__(cls)
    return made


class Adapts:
    """Mixed into ways: how the registry combines them with a model; see `Adapted`."""

    way_card: ClassVar[WayCard]

    @classmethod
    def on(cls, name: str, method: type) -> type:
        """The class of the combination, called ``name``. Raises InputError if the method is no net of ours."""
        if not issubclass(method, Published | Net):
            base = name.rpartition("+")[0]
            raise InputError(f"'{name}': {cls.way_card.name} adapts nets, and {base} is none; take a head such as {base}+logreg")
        fields = {
            "card": adapted_card(name, cls.way_card, method.card),
            "embedder": name.rpartition("+")[0],
            "way_card": cls.way_card,
            "way_class": cls,
            "model_class": method,
            "__doc__": f"{cls.__doc__}\n\n{Adapted.__doc__}",
        }
        return type(f"{method.__name__}{cls.__name__}", (Adapted,), fields)


def adapted_card(name: str, way: WayCard, model: MethodCard) -> MethodCard:
    """The card of an adapted model: what the model needs, and labels; donors and batches tell when to stop."""
    return replace(
        model,
        name=name,
        summary=f"{way.summary}, of: {model.summary}",
        version=f"{model.version}.{way.version}",
        reads=model.reads | {"label", *GROUPS},
        optional=model.optional | set(GROUPS),
        transductive=False,
        supervised=True,
        seeded=True,
        seconds_per_1000_cells=model.seconds_per_1000_cells * PASSES,
        twin_of=f"{model.twin_of}+{way.name}" if model.twin_of else "",
        independent=False,
        together=model.transductive,
        citation=f"{model.citation}; {way.citation}",
    )


class AdaptLast(Adapts, Last):
    way_card = WayCard("last", "its last layers trained on the labels", "freezing of the lower layers", space={"layers": (1, 2, 3)})


class AdaptFull(Adapts, Full):
    way_card = WayCard("full", "all its weights trained on the labels", "full fine-tuning")


class AdaptLora(Adapts, Lora):
    way_card = WayCard("lora", "low-rank additions trained on the labels", "Hu et al. 2021 (LoRA)", space={"rank": (4, 8, 16, 32)})


class AdaptAdapters(Adapts, Adapters):
    way_card = WayCard("adapters", "bottleneck adapters trained on the labels", "Houlsby et al. 2019", space={"bottleneck": (16, 64, 128)})


class AdaptIa3(Adapts, Ia3):
    way_card = WayCard("ia3", "scales of keys, values and feed-forward trained on the labels", "Liu et al. 2022 ((IA)3)")
