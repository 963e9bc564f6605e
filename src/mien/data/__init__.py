"""Labelled faces: read from what users have, packed to one memory-mapped file, handed on as a `FaceSet`."""
