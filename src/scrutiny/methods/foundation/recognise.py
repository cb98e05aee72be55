"""Which family a folder of official files belongs to, told by the names of the files."""

from __future__ import annotations

from pathlib import Path

from scrutiny.core.errors import InputError
from scrutiny.nets.folder import CONVERTED

from .geneformer import PLACES

TELLING: dict[str, tuple[tuple[str, ...], ...]] = {
    "scgpt": (("args.json",), ("vocab.json",)),
    "geneformer": (("config.json",), tuple(f"{place}/token_dictionary*.pkl" for place in PLACES)),
    "scfoundation": (("models.ckpt",),),
    "uce": (("species_offsets.pkl",), ("species_chrom.csv",)),
    "scimilarity": (("layer_sizes.json",), ("gene_order.tsv",)),
    "nicheformer": (("*.ckpt",), ("*_mean_script.npy",)),
    "scbert": (("*.pth",), ("panglao*.h5ad", "panglao*.json", "panglao*.txt")),
    "cellplm": (("*.config.json",), ("*.ckpt",)),
    "langcell": (("cell_bert/config.json",), ("cell_proj.bin",)),
    "genecompass": (("config.json",), ("*tokens.pickle", "*token1000W.pickle")),
}
"""Family -> what it needs, each by one of several patterns; together no other family has them. A converted file counts as the file."""
SHOWN = 12


def family_of(folder: Path) -> str:
    """The family whose files are there.

    Raises
    ------
    InputError
        If the files are those of none or of several; the message says which family comes nearest, and what it lacks.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; expected one that holds the files of a checkpoint")
    lacking = {family: [wanted[0] for wanted in needs if not _is_there(folder, wanted)] for family, needs in TELLING.items()}
    families = [family for family, missing in lacking.items() if not missing]
    if len(families) == 1:
        return families[0]
    if families:
        raise InputError(f"{folder} has the files of {' and '.join(families)}; name one with --family, or give each a folder of its own")
    near = [f"{family} lacks {', '.join(missing)}" for family, missing in lacking.items() if len(missing) < len(TELLING[family])]
    there = sorted(path.name for path in folder.iterdir())
    raise InputError(
        f"{folder} has not the files of any family: it has {', '.join(there[:SHOWN]) or 'no files'}"
        f"{' ...' if len(there) > SHOWN else ''}; {'; '.join(near) if near else f'the families are {sorted(TELLING)}'}"
    )


def _is_there(folder: Path, patterns: tuple[str, ...]) -> bool:
    stems = [(pattern, *pattern.rpartition(".")) for pattern in patterns]
    twins = [stem + CONVERTED[dot + suffix] for _, stem, dot, suffix in stems if dot + suffix in CONVERTED]
    return any(path.is_file() for pattern in (*patterns, *twins) for path in folder.glob(pattern))
