"""The typer application: one function per command, thin; the work is done on the floors below."""

from __future__ import annotations

import typer

from scrutiny.cli import adapting, advise, annotate, claims, corpus, embedding, inspect, models, ontology, pretraining, results, running

EXIT_CODES = """
Exit codes: 0 all that could run has run; 1 some runs failed (the others are kept); 2 the input or the options are wrong;
3 nothing could be run on these data; 130 stopped by Ctrl-C (run the same command again to go on).
"""

app = typer.Typer(
    name="scrutiny",
    help=(
        "Does any single-cell foundation model beat cheap methods on **your** cells? By how much, how surely, at what cost.\n\n"
        "Start with `scrutiny demo`, then `scrutiny run cells.h5ad --label cell_type --batch donor`."
    ),
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("run")(running.run)
app.command("demo")(running.demo)
app.command("plan")(running.plan)
app.command("score")(running.score)
app.command("embed")(embedding.embed)
app.command("annotate")(annotate.annotate)
app.command("pretrain")(pretraining.pretrain)
app.command("adapt")(adapting.adapt)
app.add_typer(corpus.corpus_app, name="corpus")
app.command("report")(results.report)
app.command("advise")(advise.advise)
app.command("claims")(claims.claims)
app.add_typer(results.cache_app, name="cache")
app.add_typer(models.models_app, name="models")
app.add_typer(ontology.ontology_app, name="ontology")
app.command("list")(inspect.list_things)
app.command("show")(inspect.show)
app.command("check")(inspect.check)
app.command("doctor")(inspect.doctor)


@app.callback(invoke_without_command=True)
def options(
    version: bool = typer.Option(False, "--version", help="Print the version and leave."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log what happens, and show tracebacks of our own errors."),
) -> None:
    """Handle the options that come before a command."""
    import logging
    from importlib.metadata import version as version_of

    if version:
        print(version_of("scrutiny"))
        raise typer.Exit
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
