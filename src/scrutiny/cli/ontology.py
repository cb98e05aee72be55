"""Commands on the Cell Ontology: ontology fetch, show, map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scrutiny.cli.tables import plain_table
from scrutiny.core.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from scrutiny.core.ontology import Ontology
    from scrutiny.data.label_terms import Mapped

ontology_app = typer.Typer(help="The Cell Ontology: fetch it, look up terms, find the terms of your labels.", no_args_is_help=True)

OntologyFile = Annotated[
    Path | None, typer.Option("--ontology", help="An OBO file or a folder of tables; what `scrutiny ontology fetch` got otherwise.")
]


@ontology_app.command("fetch")
def fetch(
    folder: Annotated[Path | None, typer.Option("--folder", help="Where to put it; the user's cache otherwise.")] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Take the newest release, also where one is here already.")] = False,
) -> None:
    """Fetch the official Cell Ontology (cl-basic.obo). From then on `scrutiny run` weighs errors by it.

    `scrutiny ontology fetch`
    """
    from scrutiny.data.ontology import read_ontology
    from scrutiny.data.ontology_release import fetch_ontology

    path = fetch_ontology(folder, anew=anew, progress=True)
    found = read_ontology(path)
    use = f"Use it with --ontology {path}" if folder else "It is used from now on"
    print(f"{path}: Cell Ontology {found.version or 'of unknown version'}, {len(found.terms):,} terms. {use}")


@ontology_app.command("show")
def show(
    term: Annotated[str, typer.Argument(help="Id (CL:0000084), name or synonym.")],
    ontology: OntologyFile = None,
) -> None:
    """Show what a term is called, what it is a kind of, and which kinds of it there are.

    `scrutiny ontology show CL:0000084`

    `scrutiny ontology show "T cells" --ontology cl-basic.obo`
    """
    from rich.console import Console

    from scrutiny.data.label_terms import map_labels

    found = _ontology(ontology)
    mapped = map_labels([term], found)
    if mapped.unmapped or not mapped.terms.by_label:
        said = mapped.unmapped[0].sentence(found) if mapped.unmapped else f"'{term}'"
        raise InputError(f"the ontology has no single term that is called so: {said}")
    _print_term(mapped.terms.by_label[term], found, Console())


@ontology_app.command("map")
def map_file(
    file: Annotated[Path, typer.Argument(help="File with the cells.")],
    label: Annotated[str, typer.Option("--label", help="Column of the cell types.")],
    ontology: OntologyFile = None,
    terms: Annotated[
        Path | None, typer.Option("--terms", help="Table (.tsv) of label and cl_id, which goes before everything else.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a table for --terms; fill in cl_id where it is empty.")
    ] = None,
) -> None:
    """Say which term of the Cell Ontology each label is, how it was found, and what could be meant by those without one.

    `scrutiny ontology map cells.h5ad --label cell_type -o label_terms.tsv`
    """
    from rich.console import Console

    from scrutiny.core.dataset import missing_column
    from scrutiny.data.label_terms import map_data, read_terms_table
    from scrutiny.data.read import read

    found = _ontology(ontology)
    data = read(file)
    if label not in data.obs:
        raise InputError(missing_column(data.name, "label", label, data.obs.columns))
    mapped = map_data(data, label, found, read_terms_table(terms, found) if terms is not None else None)
    counts = data.obs[label].astype(str).value_counts().to_dict()
    _print_mapped(mapped, counts, Console())
    if output is not None:
        _write(mapped, output)
        print(f"{output} is a table for --terms; {len(mapped.unmapped)} labels in it have no cl_id yet.")


def _ontology(path: Path | None) -> Ontology:
    from scrutiny.data.ontology import read_ontology
    from scrutiny.data.ontology_release import fetched_ontology

    found = read_ontology(path) if path is not None else fetched_ontology()
    if found is None:
        raise InputError("there is no ontology here; `scrutiny ontology fetch` gets it, or name a file with --ontology FILE")
    return found


def _print_term(term: str, ontology: Ontology, console: Console) -> None:
    from rich.markup import escape

    table = plain_table(escape(f"{term}  {ontology.name(term)}"), "", "")
    named = [f"{one} {ontology.name(one)}" for one in ontology.direct_parents(term)]
    kinds = [f"{one} {ontology.name(one)}" for one in ontology.direct_kinds(term)]
    way = sorted(ontology.steps_up(term).items(), key=lambda step: (step[1], step[0]))
    for what, said in (
        ("synonyms", ", ".join(ontology.synonyms.get(term, ()))),
        ("kind of", "; ".join(named)),
        ("all above", "; ".join(f"{ontology.name(one)} ({steps})" for one, steps in way[1:])),
        ("kinds", "; ".join(kinds[:20]) + (f" and {len(kinds) - 20} more" if len(kinds) > 20 else "")),
        ("version", ontology.version),
    ):
        table.add_row(what, escape(said) or "none")
    console.print(table)


def _print_mapped(mapped: Mapped, counts: dict[str, int], console: Console) -> None:
    from rich.markup import escape

    ontology = mapped.terms.ontology
    table = plain_table("Labels", "label", "cells", "term", "name of the term", "found by", right=("cells",))
    for label, term in sorted(mapped.terms.by_label.items()):
        table.add_row(escape(label), f"{counts[label]:,}", term, escape(ontology.name(term)), mapped.terms.found_by[label])
    console.print(table)
    if not mapped.unmapped:
        console.print("Every label is a term of the Cell Ontology.")
        return
    table = plain_table("Not mapped", "label", "cells", "what it could be", right=("cells",))
    for one in mapped.unmapped:
        could = "; ".join(f"{term} {ontology.name(term)}" for term in one.candidates)
        table.add_row(
            escape(one.label),
            f"{counts[one.label]:,}",
            escape(f"may be any of {could}" if one.is_ambiguous else could or "nothing like it"),
        )
    console.print(table)


def _write(mapped: Mapped, output: Path) -> None:
    import pandas as pd

    ontology, by_label = mapped.terms.ontology, mapped.terms.by_label
    rows = [(label, term, ontology.name(term)) for label, term in by_label.items()] + [(one.label, "", "") for one in mapped.unmapped]
    try:
        pd.DataFrame(sorted(rows), columns=["label", "cl_id", "cl_label"]).to_csv(output, sep="\t", index=False)
    except OSError as error:
        raise InputError(f"{output} cannot be written ({error.strerror})") from error
