"""Published foundation models as methods: which genes they know, how they make tokens of a cell, which layer is the embedding."""
