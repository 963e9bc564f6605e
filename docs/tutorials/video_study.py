# %% [markdown]
# # A video study
#
# A study often asks how the expressions of several people change over a recording. This tutorial predicts every frame of a video, follows
# each face, makes a table for statistics, and plots the expressions over time. It needs `pip install 'mien[evaluate]' pandas`.
#
# Set `VIDEO` to a file of your own, such as `"meeting.mp4"`. With `None`, a video of two drawn people is made. The people are drawn, so the
# figures here show how the tools work and say nothing about photos of people.

# %%
VIDEO = None

# %%
from itertools import pairwise
from pathlib import Path

import av
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import mien
from mien.drawn import draw_photo

# %% [markdown]
# ## A video to study
#
# `draw_photo` draws the same two people in the same place whenever the seed is the same, so frames with other expressions make a video. Each pair
# of expressions lasts 1.5 seconds, and the change takes 0.3 seconds.

# %%
RATE = 10  # frames per second
SCENE = [("neutral", "neutral"), ("happy", "neutral"), ("happy", "sad"), ("surprise", "happy"), ("neutral", "happy")]


def draw_video(path, seconds=1.5, change=0.3):
    """Write a video of the pairs of expressions in SCENE."""
    pictures = [draw_photo(pair, seed=7, width=480, height=360)[0].astype(np.float32) for pair in SCENE]
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE, width=480, height=360, bit_rate=4_000_000, pix_fmt="yuv420p")
        for number in range(int(seconds * RATE * len(SCENE))):
            scene, time = divmod(number / RATE, seconds)
            share = max(0, (time - seconds + change) / change)  # of the next picture
            first, second = pictures[int(scene)], pictures[min(int(scene) + 1, len(SCENE) - 1)]
            picture = (first * (1 - share) + second * share).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


if VIDEO is None:
    VIDEO = "two-people.mp4"
    draw_video(VIDEO)

# %% [markdown]
# ## Predict every frame
#
# `mien.predict` reads the video and gives one row for each face of each frame. `draw` also writes a copy of the video with boxes and labels,
# and a plot of each track. For a long video, `every=5` uses every fifth frame.

# %%
rows = list(mien.predict(VIDEO, threads=1, draw="answers"))
print(len(rows), "rows from", len({row.frame for row in rows}), "frames")
print("tracks:", sorted({row.track for row in rows if row.track is not None}))
print("written:", *sorted(path.name for path in Path("answers").iterdir()))

# %% [markdown]
# The drawn video gives two rows for each of its 75 frames, and two tracks: one for each person. In your own video, a person who leaves for more than two
# seconds and returns gets a new track, because mien recognises no one. One frame of the drawn copy looks like this:

# %%
with av.open(next(path for path in Path("answers").iterdir() if path.suffix == ".mp4")) as container:
    frames = [frame.to_image() for frame in container.decode(video=0)]
frames[len(frames) // 2]

# %% [markdown]
# ## A table for statistics
#
# `mien.to_dataframe` has one row for each face of each frame, with the time in seconds, the track, and a column of probabilities for each label.

# %%
table = mien.to_dataframe(rows)
labels = rows[0].labels.names
table[["frame", "time", "track", "label", "confidence", "unsure", "happy", "sad", "surprise"]].iloc[::30].round(2)

# %% [markdown]
# The share of frames with each label, for each track, is often the first result. `unsure` counts predictions with a confidence below 0.6.

# %%
faces = table.dropna(subset=["track", "label"])
shares = faces.groupby(["track", "label"]).size().unstack(fill_value=0)
shares = shares.div(shares.sum(axis=1), axis=0).round(2)
shares.assign(frames=faces.groupby("track").size(), unsure=faces.groupby("track")["unsure"].mean().astype(float).round(2))

# %% [markdown]
# In the drawn video, each pair of expressions lasts a fifth of the time: one person is happy for two fifths of the frames and surprised for one fifth, the other happy for two
# fifths and sad for one fifth. The shares are near to this; the frames of a change make the rest.
#
# Frames are not independent observations: neighbours show the same moment. For a test over people, use one number for each person (such as
# the share of happy frames), not one for each frame.
#
# ## Expressions over time

# %%
tracks = sorted(faces["track"].unique())[:4]
figure, axes = plt.subplots(len(tracks), 1, figsize=(8, 2.2 * len(tracks)), sharex=True, squeeze=False)
shown = [label for label in labels if faces[label].max() > 0.3]
for track, axis in zip(tracks, axes[:, 0], strict=True):
    one = faces[faces["track"] == track]
    for label in shown:
        axis.plot(one["time"], one[label], label=label)
    axis.set(title=f"track {track}", ylabel="probability", ylim=(0, 1))
axes[-1, 0].set_xlabel("seconds")
axes[0, 0].legend(loc="upper left", bbox_to_anchor=(1.01, 1))
figure.tight_layout()
plt.show()

# %% [markdown]
# Each line is the probability of an expression. In the drawn video the lines cross every 1.5 seconds, where the drawn expression changes. A line that stays
# high is a clear expression, and several lines at half height mean that the model is unsure.
#
# ## What smoothing does
#
# By default the probabilities of a track are averaged over about 0.1 seconds. A longer average gives steadier labels that follow a change later.

# %%
for seconds in (0.0, 0.1, 0.5):
    smoothed = mien.to_dataframe(mien.predict(VIDEO, threads=1, smoothing=seconds)).dropna(subset=["track", "label"])
    changes = sum(
        sum(first != second for first, second in pairwise(one["label"]))
        for _, one in smoothed.sort_values("time").groupby("track")
    )
    print(f"smoothing {seconds:.1f} s: {changes:2d} changes of label, {smoothed['unsure'].mean():.0%} of the rows unsure")

# %% [markdown]
# The drawn people change label five times, once for each change of expression, whatever the average: nothing moves in between. The share of unsure rows grows, because the average of two
# expressions is unsure for a while. In a real video, motion blur and small movements make labels flicker, and the number of changes falls with a longer average. [Videos and cameras](../predict.md#videos-and-cameras) has measurements.
#
# ## The plot that mien draws
#
# The plot of the same tracks that `draw` wrote, in the colours of the boxes:

# %%
Image.open(next(path for path in Path("answers").iterdir() if path.name.endswith(".tracks.png")))

# %% [markdown]
# On the command line, the same study is `mien predict meeting.mp4 --draw answers --out meeting.parquet`, and `--resume` continues it after an interruption.
#
# Before you report figures from your own recordings, measure the model on some labelled frames of them: [Honest figures](honest_figures.md).
