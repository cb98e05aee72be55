"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[str, typer.Argument(help="h5ad, zarr, loom, 10x .h5 or a 10x folder; a data set of the catalogue; or a study (.toml).")]
Label = Annotated[list[str] | None, typer.Option("--label", help="Column of the cell types; may be given several times (coarse, fine).")]
Batch = Annotated[str | None, typer.Option("--batch", help="Column of the batches (donor, sample, study ...).")]
Donor = Annotated[str | None, typer.Option("--donor", help="Column of the people or animals; from 6 of them on intervals are over donors.")]
Roles = Annotated[list[str] | None, typer.Option("--role", help="ROLE=COLUMN for study, species, tissue or pseudotime; several are fine.")]
HoldOut = Annotated[
    list[str] | None,
    typer.Option("--hold-out", help="COLUMN=VALUE: cells to tell labels of after learning on the others; several are fine."),
]
Layer = Annotated[str | None, typer.Option("--layer", help="Where the counts are: X, raw or a layer; found otherwise.")]
Size = Annotated[str, typer.Option("--cells", help="Cells to score: a number (stratified sample) or 'all'.")]
Budget = Annotated[str | None, typer.Option("--budget", help="Time the plan may take, e.g. 20m or 2h; 'none' for no limit.")]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--task", help="Task to run, e.g. reconstruction; several are fine. By default those of embeddings that labels allow."),
]
Methods = Annotated[str | None, typer.Option("--methods", help="Methods to run, separated by commas; controls are always added.")]
Embeddings = Annotated[list[str] | None, typer.Option("--embedding", help="Array in obsm to score beside the methods; several are fine.")]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="Published model to compare: a family, a checkpoint, a folder of official files, or FAMILY=FOLDER."),
]
Adapt = Annotated[
    str | None, typer.Option("--adapt", help="Ways to adapt each --model to the labels, separated by commas, e.g. lora,full.")
]
Device = Annotated[str, typer.Option("--device", help="For the models: auto, cpu, cuda, cuda:1 or mps.")]
Precision = Annotated[str, typer.Option("--precision", help="For the models: float32, or bfloat16, faster where the hardware has it.")]
Organism = Annotated[str | None, typer.Option("--organism", help="human, mouse ...; told from the gene ids otherwise.")]
LabelOrigin = Annotated[
    str | None, typer.Option("--label-origin", help="How the labels were made: genotype, sorted, clustered, transferred or expert.")
]
DataFolder = Annotated[Path | None, typer.Option("--data-folder", help="Folder of files downloaded by hand, for catalogue data sets.")]
OntologyFile = Annotated[
    Path | None, typer.Option("--ontology", help="Cell Ontology: an OBO file or a folder of tables; what `ontology fetch` got otherwise.")
]
Terms = Annotated[Path | None, typer.Option("--terms", help="Table (.tsv) of label and cl_id, for labels not named as their terms.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results. The same folder goes on where it stopped.")]
Jobs = Annotated[int | None, typer.Option("--jobs", "-j", help="Processes at once; one a core by default.")]
Seeds = Annotated[
    int | None, typer.Option("--seeds", help="How often what rests on chance is drawn: trainings, and few labelled cells. Once by default.")
]
Engine = Annotated[str, typer.Option("--engine", help="local or dask.")]
Scheduler = Annotated[str, typer.Option("--scheduler", help="Address of a Dask scheduler, e.g. tcp://host:8786.")]
Retry = Annotated[bool, typer.Option("--retry", help="Try again what failed before.")]
WriteWinner = Annotated[Path | None, typer.Option("--write-winner", help="Write the recommended embedding, of all cells, here.")]
RESULTS = Path("scrutiny-results")
