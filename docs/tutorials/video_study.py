# %% [markdown]
# # video_study
