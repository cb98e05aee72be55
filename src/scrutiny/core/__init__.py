"""The nouns, the registry, keys and errors. Imports nothing of the floors above."""
