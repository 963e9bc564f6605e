"""Labelled faces to a model file; only this room needs PyTorch."""
