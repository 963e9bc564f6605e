"""What photos that are worse than the benchmark's cost a model: PublicTest's faces blurred, darkened, turned, covered ...

With votes a model's crowd head is judged by what most people say of the unchanged face.

    python benchmarks/robustness.py mien-s runs/other --data fer2013.csv --votes fer2013new.csv
"""

import numpy as np

import mien
from mien.data.worse_photos import CHANGES, worse_copies
from mien.evaluation.metrics import proportion
from mien.evaluation.plots import markdown_table
from shared import parse, read_judged

if __name__ == "__main__":
    arguments = parse(__doc__, "model +", data=str, votes=None, split="validation", seed=0)
    models = [mien.Classifier(each, head=None if arguments.votes else "label", prior="training") for each in arguments.model]
    faces = read_judged(arguments.data, arguments.votes, arguments.split)
    table, means = [["faces", *arguments.model]], []
    for change in (None, *CHANGES):
        images = worse_copies(faces.images, arguments.seed, change) if change else faces.images
        right = [int((model.predict_proba(images).argmax(1) == faces.classes).sum()) for model in models]
        shares = [proportion(count, len(faces)) for count in right]
        table.append([change or "as they are", *(f"{share} ({share.interval})" for share in shares)])
        means.append([share.value for share in shares])
    table.append(["mean of the changed", *(f"{mean:.1%}" for mean in np.mean(means[1:], axis=0))])
    print(f"{len(faces):,} faces\n\n{markdown_table(table)}")
