"""Drafts of UCE: genes as the vectors of their proteins, laid out by chromosome."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from scrutiny.core.errors import InputError
from scrutiny.data.draws import cell_generator
from scrutiny.methods.foundation.uce import SIZES, gene_places, protein_file
from scrutiny.nets.export import write_checkpoint
from scrutiny.nets.folder import Folder
from scrutiny.nets.uce import TABLE, UceConfig
from scrutiny.nets.weights import read_checkpoint

from .layout import COMMON, Draft, Layout

WEIGHTS = "uce.safetensors"
SPECIES = "human"
SPECIAL = 4
"""Tokens before those of the genes, the end of a chromosome and the start of a sentence among them."""
CHROMOSOMES, LENGTH = 8, 100_000_000
"""Of a genome that is made up."""


class Proteins(NamedTuple):
    """What the model is shown of genes: ``names`` (n,) in upper case, ``vectors`` (n, D), ``chromosomes`` (n,) str, ``starts`` (n,)."""

    names: NDArray[np.str_]
    vectors: NDArray[np.float32]
    chromosomes: NDArray[np.str_]
    starts: NDArray[np.int64]


def write(draft: Draft) -> None:
    """Names, places and sizes; the file of weights has the vectors of the tokens, which are given and not trained."""
    names = draft.genes("symbol", folded=True).names
    folder, width = draft.sizes["proteins"], draft.sizes["protein_width"]
    proteins = given(folder, names) if folder else made_up(names, width)
    if folder:
        draft.notes.append(f"protein embeddings and places on the genome from {folder}: {len(proteins.names):,} of {len(names):,} genes")
    else:
        draft.notes.append(f"protein embeddings ({width} numbers) and places on the genome are made up, drawn by the name of the gene")
    chromosomes = np.unique(proteins.chromosomes)  # as the family counts them
    around = [drawn(f"token {token}", proteins.vectors.shape[1]) for token in [*range(SPECIAL), *chromosomes.tolist()]]
    table = np.concatenate([around[:SPECIAL], proteins.vectors, around[SPECIAL:]])
    draft.write_json("species_offsets.json", {SPECIES: SPECIAL})
    draft.write_json(f"{SPECIES}_protein_embedding_keys.json", proteins.names.tolist())
    places = {"species": SPECIES, "gene_symbol": proteins.names, "chromosome": proteins.chromosomes, "start": proteins.starts}
    pd.DataFrame(places).to_csv(draft.folder / "species_chrom.csv", index=False)
    draft.write_json(SIZES, asdict(config_of(draft.sizes, table.shape[1], len(chromosomes))))
    write_checkpoint({TABLE: torch.from_numpy(table)}, draft.folder / WEIGHTS)


def config_of(sizes: Any, token_dim: int, n_chromosomes: int) -> UceConfig:
    """Two thirds of the context are genes, as in the published models, or fewer where every chromosome must have room."""
    width, context = sizes["width"], sizes["context"]
    sample = min(2 * context // 3, context - 1 - 2 * n_chromosomes)
    if sample < 1:
        raise InputError(f"a context of {context} has no room for genes beside the marks of {n_chromosomes} chromosomes")
    heads, binary = (width,) * 5, (2 * width, 2 * width, width, width, 1)
    return UceConfig(token_dim, width, sizes["heads"], sizes["feed_forward"], sizes["layers"], context, heads, binary, sample)


def made_up(names: NDArray[np.str_], width: int) -> Proteins:
    """Vectors and places drawn by the name of each gene."""
    vectors = np.stack([drawn(f"protein {name}", width) for name in names])
    places = [cell_generator(0, f"place {name}").integers((CHROMOSOMES, LENGTH)) for name in names]
    chromosomes, starts = np.array(places).T
    return Proteins(names, vectors, (chromosomes + 1).astype(str), starts)


def drawn(name: str, width: int) -> NDArray[np.float32]:
    """Normal numbers (width,) that depend on the name alone."""
    return cell_generator(0, name).standard_normal(width, dtype=np.float32)


def given(folder: str, names: NDArray[np.str_]) -> Proteins:
    """The genes of which a folder of official files has a protein embedding and a place.

    Raises
    ------
    InputError
        If there are no such files, or they have none of the genes.
    """
    source = Folder(folder)
    path = protein_file(source, SPECIES)
    found = read_checkpoint(path) if path else {}
    vectors = {str(name).upper(): vector for name, vector in found.items() if isinstance(vector, Tensor) and vector.ndim == 1}
    places = gene_places(source.file("species_chrom.csv"))
    places = places[places["species"] == SPECIES].drop_duplicates("gene_symbol").set_index("gene_symbol")
    kept = np.array([name for name in names if name in vectors and name in places.index])
    if not len(kept) or len({len(vectors[name]) for name in kept}) > 1:
        raise InputError(f"{folder} has no protein embeddings of one width for any of {len(names):,} genes, e.g. {', '.join(names[:3])}")
    own = places.loc[kept]
    chromosomes = own["chromosome"].astype(str).str.removeprefix(f"{SPECIES}_").to_numpy(str)
    return Proteins(kept, torch.stack([vectors[name].float() for name in kept]).numpy(), chromosomes, own["start"].to_numpy(np.int64))


def weights(model: Any, tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """With the vectors of the tokens that are there."""
    return {WEIGHTS: {**tensors, TABLE: model.files.tensors[TABLE]}}


UCE = Layout({**COMMON, "protein_width": 64, "proteins": ""}, write, weights)
