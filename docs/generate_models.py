"""Write the generated part of MODELS.md from the cards of the models, the table of checkpoints and the measured parity.

python docs/generate_models.py            write
python docs/generate_models.py --check    say whether it is up to date, change nothing
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scrutiny.core.cards import MethodCard, ModelCard
from scrutiny.core.registry import METHODS
from scrutiny.data.catalog import catalog
from scrutiny.data.checkpoints import Checkpoint, File, checkpoints, default_checkpoints
from scrutiny.methods.foundation.options import Option, options_of

PAGE = Path(__file__).with_name("MODELS.md")
PARITY = Path(__file__).parents[1] / "benchmarks" / "results" / "parity.json"
BEGIN, END = "<!-- generated from the cards: begin -->", "<!-- generated from the cards: end -->"
NUMPY_RTOL = 1e-7
"""Of `numpy.testing.assert_allclose` where a test names none."""
COMMERCIAL = {True: "allowed", False: "**not allowed**", None: "nobody says"}


def generated() -> str:
    """Overview, common options, and a section a family."""
    families = {family: METHODS.get(family) for family in default_checkpoints()}
    parity = json.loads(PARITY.read_text("utf-8"))
    parts = [overview(families), glance(parity), *(line for family, method in families.items() for line in section(family, method, parity))]
    return "\n".join([*parts, *unconfirmed(families)])


def overview(families: dict[str, Any]) -> str:
    rows = ["| model | parameters | genes | most tokens | code | weights | commercial use of the weights | get it |", "|" + "---|" * 8]
    for family, method in families.items():
        model: ModelCard = method.card.model
        most = f"{model.context:,}" + " (cells together)" * method.card.transductive
        facts = [f"[{model.title}](#{family})", model.parameters, model.vocabulary, most, model.code_licence]
        how = "by hand" if checkpoints()[default_checkpoints()[family]].by_hand else f"`scrutiny models fetch {family}`"
        rows.append(f"| {' | '.join([*map(cell, facts), cell(model.weights_licence), COMMERCIAL[model.commercial], how])} |")
    general = [option for option in options_of(next(iter(families.values()))) if option.general]
    return "\n".join(["## Overview", "", *rows, "", "### Options of every model", "", *options(general), ""])


def glance(parity: dict[str, Any]) -> str:
    """One line a fixture: how many arrays agree, and how near the tolerance the worst one comes."""
    head = "| fixture | arrays compared | exactly equal | largest difference | at most, of the absolute tolerance |"
    rows = ["### Parity at a glance", "", head, "|---|---|---|---|---|"]
    for model, noted in parity.items():
        compared = noted["compared"].values()
        exact = [told for told in compared if told["largest_difference"] == 0]
        absolute = [told for told in compared if told["atol"]]
        worst = max(told["largest_difference"] for told in absolute)
        share = max(told["largest_difference"] / told["atol"] for told in absolute)
        rows.append(f"| `{model}` | {len(compared)} | {len(exact)} | {worst:.1e} | {share:.0%} |")
    return "\n".join([*rows, ""])


def section(family: str, method: Any, parity: dict[str, Any]) -> Iterator[str]:
    card: MethodCard = method.card
    yield f"## {family}\n"
    yield f"{cell(card.summary)}.\n"
    yield from facts(family, card)
    if own := [option for option in options_of(method) if not option.general]:
        yield "\n**Options of its own**\n"
        yield from options(own)
    yield "\n**Checkpoints**\n"
    yield "| name | what it is | parameters | size | get it |\n|---|---|---|---|---|"
    published = [known for known in checkpoints().values() if known.family == family]
    for known in published:
        how = "by hand" if known.by_hand else "by command"
        yield f"| `{known.name}` | {cell(known.about)} | {known.parameters} | {megabytes(known.size)} | {how} |"
    yield ""
    for known in published:
        yield from details(known)
    for model, noted in parity.items():
        if model == family or model.startswith(f"{family}_v"):
            yield from parity_table(model, noted)
    yield ""


def facts(family: str, card: MethodCard) -> Iterator[str]:
    model = card.model
    assert model is not None, "a published model has a card of its own"
    organisms = ", ".join(sorted(card.organisms)) if card.organisms else "any"
    others = "all cells that are embedded together" if card.transductive else "that cell alone" if card.independent else "its batch"
    rows = {
        "architecture": model.architecture,
        "parameters": model.parameters,
        "tokens": model.tokens,
        "vocabulary": model.vocabulary,
        "most cells embedded together" if card.transductive else "most tokens of a cell": f"{model.context:,}",
        "genes are of": organisms,
        "values it needs": card.scale or "any",
        "pretrained on": model.corpus,
        "data sets of the catalogue in it": exposure(family),
        "the vector of a cell": model.embedding,
        "depends on": others,
        "draws": "part of the method; three seeds in a study" if card.seeded else "none",
        "licence of the code": model.code_licence,
        "licence of the weights": model.weights_licence,
        "commercial use of the weights": COMMERCIAL[model.commercial],
        "weights from": model.source,
        "cite": card.citation,
    }
    yield "| | |\n|---|---|"
    for name, value in rows.items():
        yield f"| {name} | {cell(str(value))} |"


def exposure(family: str) -> str:
    """What the catalogue of data sets says of a family, by answer."""
    told: dict[str, list[str]] = {}
    for name, entry in catalog().items():
        for model, known in entry.pretraining.items():
            if known.answer != "unknown" and (model == family or model.startswith(f"{family}_")):
                told.setdefault(known.answer, []).append(f"`{name}`" + (f" ({model})" if model != family else ""))
    return "; ".join(f"{answer}: {', '.join(names)}" for answer, names in sorted(told.items(), reverse=True)) or "not known of any"


def options(listed: list[Option]) -> Iterator[str]:
    yield "| option | default | what it is |\n|---|---|---|"
    for option in listed:
        yield f"| `{option.name}` | `{option.default!r}` | {cell(option.about.replace('``', '`'))} |"


def details(known: Checkpoint) -> Iterator[str]:
    doubt = f" Not verified: {known.unverified}" if known.unverified else ""
    yield f"- `{known.name}`: {known.source}{doubt}"
    for place in dict.fromkeys(origin(file) for file in known.files):
        yield f"  - {', '.join(f'`{file.name}`' for file in known.files if origin(file) == place)} {place}"


def origin(file: File) -> str:
    if file.by_hand:
        return f"by hand from {file.by_hand}"
    if file.repo:
        return f"from Hugging Face `{file.repo}` at `{file.revision[:8]}`"
    return f"from {file.url}{' (an archive)' if file.member else ''}"


def parity_table(model: str, noted: dict[str, Any]) -> Iterator[str]:
    yield f"\n**Against the reference implementation** (fixture `{model}`)\n"
    yield "| array of the fixture | largest difference | tolerance of the test |\n|---|---|---|"
    exact = [name for name, told in noted["compared"].items() if told["largest_difference"] == 0]
    if exact:
        yield f"| {', '.join(f'`{name}`' for name in exact)} | none | |"
    for name, told in noted["compared"].items():
        if name not in exact:
            relative = f"{told['rtol']:.0e} of the value" if told["rtol"] > NUMPY_RTOL else ""
            tolerance = " + ".join(filter(None, (f"{told['atol']:.0e}" if told["atol"] else "", relative)))
            yield f"| `{name}` | {told['largest_difference']:.1e} | {tolerance} |"
    if noted["not_compared"]:
        others = ", ".join(f"`{name}`" for name in noted["not_compared"])
        yield f"\nNot compared number by number (inputs, places, and what other arrays are read by): {others}."


def unconfirmed(families: dict[str, Any]) -> Iterator[str]:
    yield "## What could not be confirmed without the published weights\n"
    for method in families.values():
        model: ModelCard = method.card.model
        if model.unconfirmed:
            yield f"- **{model.title}**: {model.unconfirmed}"


def cell(text: str) -> str:
    """Text in a cell of a table: what would end the cell or begin a tag is escaped, but no tag begins within backticks."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if i % 2 else part.replace("<", "&lt;") for i, part in enumerate(parts))


def megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.0f} MB"


def page(current: str) -> str:
    """The page with its generated part made anew; what is written by hand stays."""
    before, _, rest = current.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{generated()}\n\n{END}{after}"


def main() -> int:
    current = PAGE.read_text("utf-8")
    wanted = page(current)
    if "--check" in sys.argv[1:]:
        print("MODELS.md is up to date" if wanted == current else "MODELS.md is out of date: run python docs/generate_models.py")
        return int(wanted != current)
    PAGE.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
