"""Write the generated part of CLAIMS.md from the claims of the literature.

python docs/generate_claims.py            write
python docs/generate_claims.py --check    say whether it is up to date, change nothing
"""

import sys
from itertools import groupby
from pathlib import Path

from scrutiny.report.literature import Claim, Test, literature

PAGE = Path(__file__).with_name("CLAIMS.md")
BEGIN, END = "<!-- generated from the claims: begin -->", "<!-- generated from the claims: end -->"


def generated() -> str:
    """All claims, work by work."""
    parts = []
    for work, claims in groupby(literature(), key=lambda claim: claim.work):
        head = [f"## {work}", "", "| | claim | where | tested on | contradicts |", "|---|---|---|---|---|"]
        parts.append("\n".join([*head, *map(row, claims)]))
    return "\n\n".join(parts)


def row(claim: Claim) -> str:
    tested = how(claim.test) if claim.test else f"*not tested: {claim.because}*"
    return f"| {claim.id} | {claim.statement} | {claim.where} | {tested} | {', '.join(claim.contradicts)} |"


def how(test: Test) -> str:
    """How a claim is tested, in words."""
    told = f"{test.first.words} {test.says} than {test.second.words}"
    told += ", net by net" if test.same_net else ""
    bounds = [f"at least {test.least_cells:,}" if test.least_cells else "", f"at most {test.most_cells:,}" if test.most_cells else ""]
    told += f", {' and '.join(filter(None, bounds))} cells to learn from" if any(bounds) else ""
    told += f", at least {test.least_batches} batches" if test.least_batches else ""
    return f"{told}; {', '.join(f'`{task}`' for task in test.tasks)}"


def page(current: str) -> str:
    """The page with its generated part made anew; what is written by hand stays."""
    before, _, rest = current.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{generated()}\n\n{END}{after}"


def main() -> int:
    current = PAGE.read_text("utf-8")
    wanted = page(current)
    if "--check" in sys.argv[1:]:
        print("CLAIMS.md is up to date" if wanted == current else "CLAIMS.md is out of date: run python docs/generate_claims.py")
        return int(wanted != current)
    PAGE.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
