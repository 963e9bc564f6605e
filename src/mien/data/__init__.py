"""Labelled faces: read from many formats, packed into one memory-mapped file, returned as a `FaceSet`."""
