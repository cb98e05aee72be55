"""A metric: positional parameters name the evidence, keyword-only ones are options."""

import numpy as np

from scrutiny import MetricCard, NotApplicable, metric


@metric(
    MetricCard(
        "acme/centroid_accuracy",
        family="cell types",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="Share of cells whose nearest label centroid (euclidean) is that of their own label; labels under min_cells are left out.",
    )
)
def centroid_accuracy(embedding: np.ndarray, labels: np.ndarray, *, min_cells: int = 2) -> float:
    """Share of cells nearest to the centroid of their own label.

    embedding (n_cells, n_dims), labels (n_cells,). Raises NotApplicable if fewer than two labels have ``min_cells`` cells.
    """
    names, sizes = np.unique(labels, return_counts=True)
    names = names[sizes >= min_cells]
    if len(names) < 2:
        raise NotApplicable(f"{len(names)} labels have {min_cells} cells or more; two are needed")
    kept = np.isin(labels, names)
    vectors, labels = embedding[kept], labels[kept]
    centroids = np.stack([vectors[labels == name].mean(axis=0) for name in names])  # (n_labels, n_dims)
    distances = np.linalg.norm(vectors[:, None] - centroids, axis=2)  # (n_kept, n_labels)
    return float((names[distances.argmin(axis=1)] == labels).mean())
