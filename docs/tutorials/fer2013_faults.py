# %% [markdown]
# # FER-2013 and its faults
#
# FER-2013 has copies of the same photograph with different labels, test faces that are also in training, and black images. This tutorial
# finds such faults with `mien.audit`, looks at them, leaves rows out, and measures what that changes. It needs `pip install 'mien[train]' pandas`.
#
# Set `DATA` to your `fer2013.csv`, and `RECIPE` to `"mien-s-quick"`, which then trains for a quarter of an hour and more on each of two sets. With `None`, a small file in
# the form of `fer2013.csv` is written with drawn faces and known faults, so that you can see whether they are found. Figures on drawn faces say nothing about photos;
# [Audit of FER-2013](../fer2013.md) has the figures of the real data.

# %%
DATA, RECIPE = None, "few-faces"

# %%
import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from PIL import Image

import mien
from mien.drawn import draw_faces

# %% [markdown]
# ## A file with known faults
#
# FER-2013 is a table: the label as a number, 48 x 48 gray values as text, and the split (`Usage`). The drawn file has these faults:
#
# - 24 test faces are also in Training, with exactly the same pixels;
# - 12 test faces are also in Training, saved again as JPEG (near copies);
# - 15 faces are in Training twice, 10 of them with another label the second time;
# - 4 images of Training are black.


# %%
def as_jpeg(face):
    """Save a face as JPEG and read it again: the same photograph with other pixels."""
    file = io.BytesIO()
    Image.fromarray(face).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


def write_drawn_fer2013(path):
    """Write drawn faces with known faults in the form of fer2013.csv."""
    drawn = draw_faces(44, validation=0.15, test=0.25)
    rows = list(zip(drawn.classes.tolist(), np.asarray(drawn.images), drawn.splits.tolist(), strict=True))
    test, train = [row for row in rows if row[2] == 3], [row for row in rows if row[2] == 1]
    rows += [(label, face, 1) for label, face, _ in test[:24]]
    rows += [(label, as_jpeg(face), 1) for label, face, _ in test[24:36]]
    rows += [((label + (number < 10)) % 7, face, 1) for number, (label, face, _) in enumerate(train[:15])]
    rows += [(label, np.zeros((48, 48), np.uint8), 1) for label in range(4)]
    usage = {1: "Training", 2: "PublicTest", 3: "PrivateTest"}
    cells = [(label, " ".join(map(str, face.ravel().tolist())), usage[split]) for label, face, split in rows]
    pd.DataFrame(cells, columns=["emotion", "pixels", "Usage"]).to_csv(path, index=False)


if DATA is None:
    DATA = "fer2013.csv"
    write_drawn_fer2013(DATA)
faces = mien.read_faces(DATA)
print(len(faces), "faces;", ", ".join(f"{name} {len(faces.split(name))}" for name in faces.split_names))

# %% [markdown]
# mien calls FER-2013's Training, PublicTest and PrivateTest train, validation and test.
#
# ## Find the faults
#
# `out` is a folder with a page that shows every finding; `write` is a list of the rows to leave out. `near=True` puts near copies on that list too.

# %%
audit = mien.audit(DATA, "audit", write="clean.csv", near=True, quiet=True)
print(audit.table())

# %% [markdown]
# Each line is a kind of finding, and `rows` counts both sides of a copy. The audit finds all drawn faults: 24 + 15 pairs and the 4 black images make 82 exact copies, and the
# 12 pairs saved as JPEG make 24 near copies. 10 pairs and the black images have conflicting labels. The lines below the table say how many test faces have a copy in
# training: the accuracy on these faces measures memory. Stronger changes of a photograph are not always found: [what a near copy is](../fer2013.md#what-a-near-copy-is).
#
# `findings.csv` has one line for each finding. The first line of each kind:

# %%
findings = pd.read_csv("audit/findings.csv")
findings.groupby("finding", sort=False).head(1)

# %% [markdown]
# ## Look at them
#
# Numbers do not show whether the audit is right, pictures do. Open `audit/index.html`, or draw some pairs:

# %%
figure, axes = plt.subplots(2, 6, figsize=(9, 4))
for column, kind in enumerate(("exact-copy", "near-copy", "conflict")):
    found = audit.findings[kind]
    pairs = list(zip(found.rows, found.partners, strict=True))
    for number, (row, partner) in enumerate((pairs if kind == "conflict" else pairs[len(pairs) // 2 :])[:4:2]):
        for place, which in enumerate((row, partner)):
            axis = axes[number, 2 * column + place]
            axis.imshow(audit.faces.images[which], cmap="gray", vmin=0, vmax=255)
            identity, split, label = audit.describe_row(int(which))
            axis.set_title(f"{kind}\n{split}: {label}", fontsize=8)
for axis in axes.flat:
    axis.axis("off")
figure.tight_layout()
plt.show()

# %% [markdown]
# Two neighbours are a pair. Exact and near copies show the same photograph in training and test; the pairs of a conflict show one photograph with two labels, so at least one label is wrong.
#
# ## The list of rows to leave out

# %%
listed = pd.read_csv("clean.csv")
listed["reason"].str.replace(r"copy of \d+", "copy of a row", regex=True).value_counts().to_frame("rows")

# %% [markdown]
# Here the list has rows of training only, and a test row is never left out, so two models, with and without the list, are measured on the same faces. Where copies in training have
# different labels, all of them are listed. Black images are listed as blank. Uncertain findings, such as dark images, are not listed.
#
# ## What the list changes
#
# The same recipe is trained twice, and both models are measured on the same test faces.

# %%
results = {}
for name, drop in {"as-it-is": None, "clean": "clean.csv"}.items():
    mien.train(RECIPE, mien.DataSource(DATA, drop=drop), f"runs/{name}", threads=1, quiet=True)
    results[name] = mien.evaluate(f"runs/{name}", DATA, f"reports/{name}", split="test", quiet=True)
    accuracy = results[name].metrics.accuracy
    print(f"{name:<9} {accuracy.value:.1%}   95% interval {accuracy.low:.1%} to {accuracy.high:.1%}   n = {accuracy.of}")

# %% [markdown]
# The first figure is too good, because the model was trained on some of the test faces. mien stores signatures of the training faces in the model file, so the report says so without the
# training data, and `predictions.csv` marks the faces. The accuracy of both models on the test faces that the first model has *not* seen, and on the others:

# %%
answers = {name: pd.read_csv(f"reports/{name}/predictions.csv") for name in results}
seen = answers["as-it-is"]["copy_in_training"].notna()
for name, rows in answers.items():
    correct = rows["true"] == rows["predicted"]
    print(
        f"{name:<9} {correct[seen].sum()} of {seen.sum()} with a copy in training   {correct[~seen].sum()} of {(~seen).sum()} others"
    )

# %% [markdown]
# The model of the data as they are does better on the faces that it was trained on; on the others both models are about equally good. The clean list does not make a model better by itself: it takes training
# rows away. It makes the figure honest. (The signatures also call a few drawn faces of different people alike, because drawn people resemble each other.)
#
# Is the difference between both models more than chance?

# %%
comparison = mien.compare(["reports/as-it-is", "reports/clean"])
start = comparison.index("Is the difference")
Markdown(comparison[start : comparison.index("| recall", start)])

# %% [markdown]
# The test counts the faces that only one of the two models classifies correctly. Faces with a copy in the training data of the first model are among them, so this difference is mostly
# the leak: a figure from leaky data cannot be compared with one from clean data.
#
# On the command line:
#
# ```
# mien audit --data fer2013.csv --out audit --write clean.csv --near
# mien train mien-s-quick --data fer2013.csv --data.drop clean.csv --out runs/clean
# mien evaluate runs/clean --data fer2013.csv --split test --out reports/clean
# ```
#
# Measure on PrivateTest (`split="test"`) once, at the end; choose recipes on PublicTest (`split="validation"`). [Honest figures](honest_figures.md) says why.
