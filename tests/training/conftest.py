from dataclasses import replace

import numpy as np
import pytest

from mien.data.faceset import FaceSet
from mien.drawn import draw_faces
from mien.training.recipe import Recipe, load_recipe


@pytest.fixture(scope="session")
def drawn() -> FaceSet:
    return draw_faces(12, size=48, validation=0.25)


@pytest.fixture
def recipe() -> Recipe:
    return replace(load_recipe("mien-s"), epochs=3, batch_size=16)


@pytest.fixture
def batch() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 48, 48), dtype=np.uint8)
