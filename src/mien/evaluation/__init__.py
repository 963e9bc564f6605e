"""What a model is worth on labelled faces: the numbers first, then pictures made from the numbers."""
