"""Neural nets of the published models, in plain PyTorch: architectures, name maps, safe reading of weights. Nothing here knows a Dataset.

Notation of all shape comments: B cells, N tokens of all cells of a batch laid end to end, T tokens of one cell, D width, H heads,
E width of a head, V vocabulary.
"""
