"""Which family a folder of official files belongs to, told by the names of the files."""

from __future__ import annotations

from pathlib import Path

from scrutiny.core.errors import InputError
from scrutiny.data.checkpoints import checkpoints, record
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
"""Files named of a folder that no family has."""
NEAREST = 3
"""Families named that come near."""


def family_of(folder: Path) -> str:
    """The family whose files are there.

    Raises
    ------
    InputError
        If the files are those of none or of several; the message says which families come near, the nearest first, and what they lack.
    """
    if (drafted := record(folder).get("family")) in TELLING:
        return str(drafted)
    families = _whole(folder)
    if len(families) == 1:
        return families[0]
    if families:
        raise InputError(f"{folder} has the files of {' and '.join(families)}; name one with --family, or give each a folder of its own")
    there = sorted(path.name for path in folder.iterdir())
    near = [f"{family} lacks {', '.join(_lacking(folder, family))}" for family in _nearest(folder)[:NEAREST]]
    raise InputError(
        f"{folder} has not the files of any family: it has {', '.join(there[:SHOWN]) or 'no files'}"
        f"{' ...' if len(there) > SHOWN else ''}; {'; '.join(near) if near else f'the families are {sorted(TELLING)}'}"
    )


def check_family(folder: Path, family: str) -> None:
    """That the files are not those of another family. Raises InputError, naming it, if they are."""
    others = _whole(folder)
    if others and family not in others:
        lacking = ", ".join(_lacking(folder, family))
        raise InputError(f"{folder} lacks {lacking} of {family}; these look like files of {' and '.join(others)}")


def _whole(folder: Path) -> list[str]:
    """Families whose telling files are all there."""
    if folder.is_file():
        raise InputError(f"{folder} is a file; name the folder it lies in")
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; expected one that holds the files of a checkpoint")
    return [family for family in TELLING if not _lacking(folder, family)]


def _lacking(folder: Path, family: str) -> list[str]:
    return [Path(wanted[0]).as_posix() for wanted in TELLING[family] if not _is_there(folder, wanted)]


def _nearest(folder: Path) -> list[str]:
    """Families of which any file is there, telling or of a published checkpoint; that with most of them first."""
    near = dict.fromkeys(TELLING, 0)
    for known in checkpoints().values():
        near[known.family] = max(near[known.family], sum(_is_there(folder, (file.name,)) for file in known.files))
    for family, wanted in TELLING.items():
        near[family] += len(wanted) - len(_lacking(folder, family))
    return sorted(filter(near.__getitem__, near), key=lambda family: -near[family])


def _is_there(folder: Path, patterns: tuple[str, ...]) -> bool:
    stems = [(pattern, *pattern.rpartition(".")) for pattern in patterns]
    twins = [stem + CONVERTED[dot + suffix] for _, stem, dot, suffix in stems if dot + suffix in CONVERTED]
    return any(path.is_file() for pattern in (*patterns, *twins) for path in folder.glob(pattern))
