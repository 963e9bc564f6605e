# %% [markdown]
# # fer2013_faults
