# %% [markdown]
# # Honest figures
#
# An accuracy can be right and still mislead: too few faces, training faces among the test faces, the same people on both sides, or a model that
# was chosen by the figure that is reported. This tutorial shows each on a small data set, and what mien does about it. It needs `pip install 'mien[train]'`.
#
# Set `DATA` to labelled faces of your own, and `GROUP` to what names the person: a column of a manifest, or `"re:"` and a regular expression for the
# file name. With `None`, a studio set is drawn: 20 people, each with seven expressions. Figures on drawn faces say nothing about photos.

# %%
DATA, GROUP = None, r"re:^(person\d+)"

# %%
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown
from PIL import Image

import mien
from mien.drawn import draw_face

if DATA is None:
    DATA = "studio"
    for person in range(20):
        for expression in mien.FER2013:
            path = Path(DATA, expression, f"person{person:02d}-{expression}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw_face(expression, person, 96)).save(path)
faces = mien.read_faces(DATA)
print(len(faces), "faces:", dict(zip(faces.labels, faces.counts().tolist(), strict=True)))

# %% [markdown]
# ## An accuracy has an interval
#
# The embedded model on 28 of the faces and on all of them. The model is the same; only the number of faces changes.

# %%
data = mien.DataSource(DATA, group=GROUP)  # with the person of each face
accuracies = [
    mien.evaluate("mien-s", data, f"reports/embedded-{limit or 'all'}", split="all", limit=limit, quiet=True).metrics.accuracy
    for limit in (28, None)
]
for accuracy in accuracies:
    print(
        f"{accuracy.count:3d} of {accuracy.of:3d} correct: {accuracy.value:.1%}   95% interval {accuracy.low:.1%} to {accuracy.high:.1%}"
    )
plt.figure(figsize=(6, 1.5))
for place, accuracy in enumerate(accuracies):
    plt.plot([accuracy.low, accuracy.high], [place, place], "-", lw=3)
    plt.plot(accuracy.value, place, "ko")
plt.yticks(range(len(accuracies)), [f"n = {accuracy.of}" for accuracy in accuracies])
plt.xlabel("accuracy, 95% interval")
plt.xlim(0, 1)
plt.ylim(-0.5, 1.5)
plt.show()

# %% [markdown]
# With few faces the interval is wide. The two figures differ by several points, and yet it is the same model. The interval is Wilson's, and it shrinks with the square root of the
# number of faces: four times the faces for half the width. Report n and the interval with every accuracy.
#
# ## Training rows are not test rows
#
# A small network from random weights, trained on most of these faces. `carve` moves whole people to validation, because the faces have groups.

# %%
grouped = mien.read_faces(data)
divided = grouped.carve(0.3, source="none" if "none" in grouped.split_names else "train")
print({name: len(divided.split(name)) for name in divided.split_names})

# %% [markdown]
# Now copy 21 of the validation faces into training, as happens when a data set is collected twice. Such a leak is easy to make and hard to see in a figure.

# %%
train, validation = divided.split(divided.split_names[0]), divided.split("validation")
leaked = np.arange(len(validation)) < 21
leaky = mien.FaceSet.from_arrays(
    np.concatenate([train.images, validation.images[leaked], validation.images]),
    np.concatenate([train.classes, validation.classes[leaked], validation.classes]),
    divided.labels,
    ["train"] * (len(train) + leaked.sum()) + ["validation"] * len(validation),
)
mien.train("few-faces", leaky, "runs/leaky", threads=1, quiet=True)
for split in ("train", "validation"):
    report = mien.evaluate("runs/leaky", leaky, f"reports/leaky-{split}", split=split, quiet=True)
    print(f"{split:<11} {report.metrics.accuracy}   95% interval {report.metrics.accuracy.interval}")

# %% [markdown]
# The accuracy on training rows is far above the other: it measures memory too. The one on validation lies between memory and skill, because 21 of these faces are copies of training
# faces. The model file holds signatures of its training faces, so the report can tell them apart:

# %%
copies = report.record.training_copies
print(f"{copies.exact} exact copies, and {copies.alike} faces that resemble a training face closely")
print(f"on these:     {copies.on_copies}   95% interval {copies.on_copies.interval}")
if copies.without:
    print(f"on the rest:  {copies.without.accuracy}   95% interval {copies.without.accuracy.interval}   n = {copies.without.n}")
    print(
        f"contribution: {100 * copies.worth.value:+.1f} points ({100 * copies.worth.low:+.1f} to {100 * copies.worth.high:+.1f})"
    )

# %% [markdown]
# The accuracy "on the rest" is the honest one. Before training, `mien audit` finds such copies: [FER-2013 and its faults](fer2013_faults.md).
#
# ## The same people on both sides
#
# Faces of one person resemble each other. A random split puts most people on both sides; a split by groups puts nobody there.

# %%
people = grouped.groups
for name, source in {"random": replace(grouped, groups=None), "by groups": grouped}.items():
    parts = source.carve(0.3, source="none" if "none" in source.split_names else "train")
    person_of = dict(zip(grouped.ids.tolist(), people.tolist(), strict=True))
    sides = [{person_of[identity] for identity in parts.split(split).ids.tolist()} for split in parts.split_names]
    print(f"{name:<9} {len(sides[0] & sides[1]):2d} of {len(set(people.tolist()))} people are on both sides")

# %% [markdown]
# With the random split, the figure answers "how well does it work for these people?". With groups it answers "how well does it work for new people?", which is usually the question.
#
# ## Folds: every face is measured once
#
# With 140 faces, a tenth for validation is 14 faces. With folds, each face is measured by a model that was trained without its person. The last model is trained on all
# faces.

# %%
recipe = replace(mien.load_recipe("fine-tune"), epochs=6)  # half of its epochs, to save time
folds = mien.train(recipe, data, "runs/folds", folds=3, threads=1, quiet=True)
print("\n".join(folds.table().splitlines()[:4]))

# %% [markdown]
# Each fold holds whole people. The first interval takes every face for an observation of its own. The interval over groups draws whole people, and is never given as narrower: it is the one for new people. The accuracies of the folds show
# how much the figure depends on who was held out. Five or ten folds train on more of the faces and take longer.
#
# ## Do two models differ?
#
# The embedded model without further training, on the same faces, against the models of the folds:

# %%
comparison = mien.compare(["runs/folds", "reports/embedded-all"])
start = comparison.index("Is the difference")
Markdown(comparison[start : comparison.index("| recall", start)])

# %% [markdown]
# Both models saw the same faces, so the test is paired: it counts the faces that only one of them classifies correctly (McNemar's exact test). Two overlapping intervals do *not* mean that two models are
# equal, and two separate figures do not mean that they differ; the interval of the difference says how large it can be.
#
# The test is about these two trained models. Another seed gives another model: train with several seeds (`--recipe.seed 1`) before you call one recipe better than another.
#
# ## Choose on validation, report on test
#
# Whoever tries ten recipes and reports the best validation figure reports luck too. Choose recipes, epochs and thresholds on validation, and measure once on test. mien follows this rule with FER-2013:
# its models were chosen on PublicTest, and its figures say so.
#
# A short list for a paper: n and a 95% interval for each accuracy; intervals over people if there are several faces of each; the copies and how much they contribute; balanced accuracy or recalls beside accuracy, since
# labels are unequal; the command, and the seeds. The report has them in `metrics.json` (the command, if there was one), and
# the run has the seed in `recipe.yaml`: [Evaluating a model](../evaluate.md).
