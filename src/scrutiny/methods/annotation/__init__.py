"""Ways to tell labels of cells."""
