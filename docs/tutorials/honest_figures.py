# %% [markdown]
# # honest_figures
