"""Labelled faces to a model file: PyTorch and Lightning live here and nowhere else."""
