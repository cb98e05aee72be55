"""From the options of `run` and `plan` to a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scrutiny.cli.pairs import once_each, text_pair
from scrutiny.core.errors import InputError

if TYPE_CHECKING:
    from scrutiny.engine.embedding import Chosen
    from scrutiny.engine.sources import Source
    from scrutiny.engine.study import Study

ORIGINS = ("genotype", "sorted", "clustered", "transferred", "expert")
READ_BY = ("centroid", "knn", "logreg")
"""Heads that tell labels from the embedding of a published model as it is: two without training, and the linear probe."""


@dataclass(frozen=True)
class Cells:
    """What is scored, in the words of the command line."""

    file: str
    label: list[str] | None = None
    batch: str | None = None
    donor: str | None = None
    role: list[str] | None = None
    hold_out: list[str] | None = None
    layer: str | None = None
    cells: str = "5000"
    organism: str | None = None
    label_origin: str | None = None
    data_folder: Path | None = None
    ontology: Path | None = None
    terms: Path | None = None

    def source(self) -> Source:
        """Where the cells come from. Raises InputError if an option is not what it should be."""
        from scrutiny.data.catalog import catalog
        from scrutiny.engine.sources import Source

        if self.label_origin is not None and self.label_origin not in ORIGINS:
            raise InputError(f"labels of the origin '{self.label_origin}' are not known; expected one of {', '.join(ORIGINS)}")
        of_catalog = not Path(self.file).exists() and self.file in catalog()
        named = [(role, column) for role, column in (("batch", self.batch), ("donor", self.donor)) if column is not None]
        return Source(
            path=self.data_folder if of_catalog else Path(self.file),
            catalog=self.file if of_catalog else "",
            labels=tuple(self.label or ()),
            roles=once_each([*named, *(text_pair(text, "--role", "study=dataset") for text in self.role or ())]),
            hold_out=values_of(self.hold_out or (), "--hold-out", "condition=stim"),
            layer=self.layer,
            organism=self.organism,
            propose=True,
            cells=_number_of(self.cells),
            facts={"label_origin": self.label_origin} if self.label_origin else {},
        )


@dataclass(frozen=True)
class Question:
    """What is asked of which methods, in the words of the command line."""

    task: list[str] | None = None
    methods: str | None = None
    embedding: list[str] | None = None
    model: list[str] | None = None
    adapt: str | None = None
    device: str = "auto"
    precision: str = "float32"
    seeds: int | None = None


def study_of(cells: Cells, question: Question, budget: str | None) -> Study:
    """The study that the options declare; of a study file they change the tasks, the seeds and the ontology only.

    Without a task, who holds cells out wants labels told of them.
    """
    from scrutiny.core.registry import named_tasks
    from scrutiny.engine.study import Study

    named = [name.strip() for entry in question.task or () for name in entry.split(",") if name.strip()]
    tasks = named_tasks(named or (("annotation",) if cells.hold_out else ()))
    if cells.file.endswith(".toml"):
        if cells.hold_out or cells.role:
            raise InputError("--hold-out and --role are for files of cells; a study file says them of each data set (hold_out, roles)")
        study = Study.from_toml(cells.file)
        study = replace(study, tasks=tasks) if tasks else study
    else:
        study = Study((cells.source(),), methods_of(question, tasks), tasks, budget=_seconds(budget))
    if question.seeds is not None:
        study = replace(study, seeds=tuple(range(_at_least_one(question.seeds))))
    return _with_terms(study, cells.ontology, cells.terms)


def methods_of(question: Question, tasks: tuple[str, ...]) -> tuple[Chosen, ...]:
    """Models with their twins, methods by name or the usual ones, and the controls.

    Where labels are to be told, each model is read by the heads of `READ_BY` and adapted in the ways that were asked for.
    """
    from scrutiny.core.registry import TASKS
    from scrutiny.engine.embedding import Chosen
    from scrutiny.engine.study import CONTROLS, usual_methods, with_twins

    verbs = {TASKS.get(task).card.asks for task in tasks} or {"embed"}
    models, ways = models_of(question.model, question.device, question.precision), _texts(question.adapt)
    if ways and "predict_labels" not in verbs:
        raise InputError("--adapt is for tasks that ask for labels; name one, e.g. --task annotation")
    told = [replace(model, name=f"{model.name}+{how}") for model in models for how in _heads(ways)] if "predict_labels" in verbs else []
    models = [*(models if verbs != {"predict_labels"} else ()), *told]
    usual = usual_methods(tasks)
    controls = [name for name in usual if name in CONTROLS]
    chosen = _texts(question.methods) or [name for name in usual if name not in controls]
    ready_made = [Chosen("precomputed", {"key": key}) for key in question.embedding or ()]
    by_name = [Chosen(name) for name in chosen if name not in {model.name for model in models}]
    last = (Chosen(control) for control in controls if control not in chosen)
    return (*ready_made, *with_twins([*models, *by_name]), *last)


def _heads(ways: list[str]) -> list[str]:
    from scrutiny.core.registry import HEADS

    for way in ways:
        HEADS.get(way)
    return list(dict.fromkeys([*(head for head in READ_BY if head in HEADS), *ways]))


def values_of(texts: Iterable[str], option: str, example: str) -> Mapping[str, tuple[str, ...]]:
    """Column -> values, of COLUMN=VALUE several times."""
    values: dict[str, tuple[str, ...]] = {}
    for column, value in (text_pair(text, option, example) for text in texts):
        values[column] = (*values.get(column, ()), value)
    return values


def _with_terms(study: Study, ontology: Path | None, terms: Path | None) -> Study:
    """The study with an ontology and a table of terms for all of its files; what a study file names stays where the options do not."""
    from scrutiny.engine.sources import Source

    def told(source: Source) -> Source:
        return replace(source, ontology=ontology or source.ontology, terms=terms or source.terms)

    return replace(study, datasets=tuple(told(one) if isinstance(one, Source) else one for one in study.datasets))


def _texts(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _seconds(text: str | None) -> float | None:
    from scrutiny.engine.study import BUDGET
    from scrutiny.engine.studyfile import seconds_of

    return None if text == "none" else BUDGET if text is None else seconds_of(text)


def _at_least_one(n_seeds: int) -> int:
    if n_seeds < 1:
        raise InputError(f"--seeds is {n_seeds}; expected at least 1")
    return n_seeds


def _number_of(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdigit() or int(text) < 100:
        raise InputError(f"--cells is '{text}'; expected 'all' or a number of at least 100")
    return int(text)


def models_of(entries: list[str] | None, device: str, precision: str) -> list[Chosen]:
    """Models as `model_of` reads them, with options for all of them."""
    from scrutiny.data.checkpoints import whole_path
    from scrutiny.engine.embedding import Chosen

    models = []
    for entry in entries or ():
        name, checkpoint = model_of(entry)
        given = {"checkpoint": whole_path(checkpoint), "device": device, "precision": precision}
        usual = {"checkpoint": "", "device": "auto", "precision": "float32"}
        models.append(Chosen(name, {option: value for option, value in given.items() if value != usual[option]}))
    return models


def model_of(entry: str) -> tuple[str, str]:
    """Name and checkpoint of ``FAMILY``, ``CHECKPOINT``, ``FOLDER`` (its files tell the family) or ``FAMILY=FOLDER``."""
    from scrutiny.core.registry import METHODS, require
    from scrutiny.data.checkpoints import family_and_checkpoint, near

    if found := family_and_checkpoint(entry):
        return found
    if (folder := Path(entry).expanduser()).exists():
        require(("torch", "safetensors"), "models", needed_by="recognising the files of a model")
        from scrutiny.methods.foundation.recognise import family_of

        return family_of(folder), entry
    name, _, checkpoint = entry.partition("=")
    family, other = family_and_checkpoint(name) or ("", "")
    if family and not other:
        return family, checkpoint
    if name in METHODS:
        if METHODS.get(name).card.model is None:
            raise InputError(f"{name} is not a published model; use --methods {name}")
        return name, checkpoint
    expected = "expected a family, the name of a checkpoint, a folder of official files, or FAMILY=FOLDER"
    raise InputError(f"no published model is called '{name}'; {near(name)}; {expected}")
