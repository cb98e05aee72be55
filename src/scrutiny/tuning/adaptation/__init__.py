"""Adaptation of a pretrained net to labels: which of its weights are trained, or what is put into it to be trained beside them."""
