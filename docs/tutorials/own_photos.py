# %% [markdown]
# # own_photos
