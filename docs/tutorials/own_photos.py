# %% [markdown]
# # Own photos to a model
#
# From a folder of labelled photos to a model, its report and predictions: crop the faces, check them, train the embedded model further, and measure the
# result on other people. It needs `pip install 'mien[train]' pandas`.
#
# Set `PHOTOS` to a folder with a folder of photos for each label (`photos/happy/anna_1.jpg` ...), `OTHER` to such a folder of *other people*, which is
# only used to measure, and `PERSON` to the regular expression that finds the person in a file name. With `None`, photos of drawn people are made. Figures on
# drawn faces show how the tools work and say nothing about photos.

# %%
PHOTOS, OTHER = None, None
PERSON = r"re:^(person\d+)"  # the person in "person03-happy.jpg"

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown
from PIL import Image

import mien
from mien.drawn import draw_face, draw_photo


def draw_photos(folder, people):
    """Draw a photo of each person with each of seven expressions, in a folder for each label."""
    for person in people:
        for expression in mien.FER2013:
            photo = Image.new("RGB", (320, 320), (118, 122, 128))
            photo.paste(Image.fromarray(draw_face(expression, person, 176)), (72, 60))
            path = Path(folder, expression, f"person{person:02d}-{expression}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            photo.save(path, quality=92)


if PHOTOS is None:
    PHOTOS, OTHER = "photos", "other-photos"
    draw_photos(PHOTOS, range(20))
    draw_photos(OTHER, range(50, 60))
    Image.new("RGB", (320, 240), (90, 140, 90)).save("photos/happy/person90-meadow.jpg")  # a photo without a face
    Image.fromarray(draw_photo(["sad", "happy"], seed=1)[0]).save("photos/sad/person91-two.jpg")  # one with two

# %% [markdown]
# ## Crop the faces
#
# A model learns from cropped faces. `mien.crop` finds the largest face of each photo and crops it exactly as predictions do later.

# %%
crops = mien.crop(PHOTOS, out="faces", quiet=True)
print(crops.table())

# %% [markdown]
# The counts say what became of every photo. The drawn folder has 142 photos: one without a face, and one with two faces, of which the larger was cropped. `photos.csv`
# names them:

# %%
photos = pd.read_csv("faces/photos.csv")
photos[photos["remark"].notna()][["photo", "label", "cropped", "remark"]]

# %% [markdown]
# Look at the crops before you train: open `faces/index.html`, which shows them by label. Here is one row for each label. A wrong face is left out by removing
# its row from `faces/manifest.csv`.

# %%
manifest = pd.read_csv("faces/manifest.csv")
figure, axes = plt.subplots(7, 8, figsize=(8, 7))
for row, (label, group) in zip(axes, manifest.groupby("label"), strict=False):
    for axis, path in zip(row, group["path"], strict=False):
        axis.imshow(Image.open(Path("faces", path)), cmap="gray")
    row[0].text(-0.1, 0.5, label, transform=row[0].transAxes, ha="right", va="center")
for axis in axes.flat:
    axis.axis("off")
plt.show()

# %% [markdown]
# Every row shows one expression. `faces/index.html` shows the most doubtful faces of a label first, such as the one from the photo of two people: its larger
# face need not be the sad one.
#
# ## Check the data
#
# The audit finds copies, conflicting labels, blank images and outliers. `group` says which rows show the same person.

# %%
data = mien.DataSource("faces", group=PERSON)
audit = mien.audit(data, "audit", quiet=True)
print(audit.table())

# %% [markdown]
# The drawn faces have no copies and no conflicts. In data of your own, look at `audit/index.html` before you go on:
# [FER-2013 and its faults](fer2013_faults.md) shows what can be found.
#
# ## Train
#
# `fine-tune` trains the embedded model further, for a fixed number of epochs. The data have no validation split, so mien holds out a tenth; with
# `group` it holds out whole people.

# %%
report = mien.train("fine-tune", data, "runs/tuned", threads=1, quiet=True)
print(report.table())

# %% [markdown]
# The last two lines compare the embedded model before training with the trained one, on the same held-out faces. These are few, so the intervals are wide. That is
# why the next step measures on other people, who played no part in training.
#
# The same faces without the embedded model's knowledge: `few-faces` starts from random weights.

# %%
mien.train("few-faces", data, "runs/scratch", threads=1, quiet=True)
print(*sorted(path.name for path in Path("runs/scratch").iterdir()))

# %% [markdown]
# A run folder holds the model (`model.onnx`), the recipe, the log of the epochs, the report, and `last.ckpt`, from which `--resume` continues.
#
# ## Evaluate on other people
#
# `detector="auto"` crops the faces of the other photos in memory, so they need no `mien.crop`. All three models are measured on the same faces.

# %%
other = mien.DataSource(OTHER, detector="auto", group=PERSON)
results = {}
for name, model in {"embedded": "mien-s", "tuned": "runs/tuned", "scratch": "runs/scratch"}.items():
    results[name] = mien.evaluate(model, other, f"reports/{name}", quiet=True)
    accuracy = results[name].metrics.accuracy
    print(f"{name:<10} {accuracy.value:.0%}   95% interval {accuracy.low:.0%} to {accuracy.high:.0%}   {accuracy.of} faces")

# %% [markdown]
# On the drawn faces, the fine-tuned model is far better than the embedded model, which has seen no drawn face, and than the model from scratch, for which 141 faces are
# few. An accuracy of 100% does not mean that it is never wrong: see the interval. Whether a difference could be chance is tested on the same faces by `mien.compare`:

# %%
comparison = mien.compare(["reports/tuned", "reports/embedded", "reports/scratch"])
start = comparison.index("Is the difference")
Markdown(comparison[start : comparison.index("| recall", start)])

# %% [markdown]
# Each line compares a model with the first one named; a report is called MODEL/REPORT here. [Honest figures](honest_figures.md) explains the test.
#
# Which expressions are confused? `reports/tuned/index.html` shows this as a page; the matrix is also a picture:

# %%
Image.open("reports/tuned/confusion.png")

# %% [markdown]
# Rows are the true labels, columns the predictions. A good model has its large numbers on the diagonal.
#
# ## Predict with it
#
# The run folder is the model. `draw` writes a copy of the photo with boxes and labels.

# %%
photo = draw_photo(["happy", "surprise", "angry", "neutral"], seed=11)[0]
Image.fromarray(photo).save("group.png")
for face in mien.predict("group.png", model="runs/tuned", threads=1, draw="answers"):
    print(face.face, face.label, f"{face.confidence:.0%}", "unsure" if face.unsure else "")
Image.open(next(Path("answers").iterdir()))

# %% [markdown]
# Four people were drawn: happy, surprised, angry, and below them neutral. The first three are answered with a high confidence. The neutral face is called sad with 41%, and a question
# mark says that this is below the threshold of 0.6: an unsure answer. (The rows above begin with the largest face.)
#
# The same steps on the command line:
#
# ```
# mien crop photos --out faces
# mien audit --data faces --out audit
# mien train fine-tune --data faces --data.group 're:^(person\d+)' --out runs/tuned
# mien evaluate runs/tuned --data other-photos --data.detector auto --out report
# mien predict group.png --model runs/tuned --draw answers
# ```
