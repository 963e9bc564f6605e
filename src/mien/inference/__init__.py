"""A photo to an answer: faces found, framed, classified, written. Knows no PyTorch."""
