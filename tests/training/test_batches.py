import numpy as np
import pytest
import torch

from mien.training import batches
from mien.training.batches import DeviceFaces, TrainingBatches, in_order
from mien.training.recipe import Balance, Recipe

CPU = torch.device("cpu")


def test_an_epoch_shows_every_face_once_in_an_order_of_its_own(drawn):
    faces = DeviceFaces(drawn, CPU)
    orders = []
    for epoch in (0, 1, 0):
        batches = TrainingBatches(faces, Recipe(batch_size=10), epoch)
        images = torch.cat([batch.faces for batch in batches])
        assert len(batches) == len(drawn) // 10 == len(images) // 10
        orders.append(images)
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2])
    assert len({image.numpy().tobytes() for image in orders[0]}) == len(orders[0])


def test_a_batch_larger_than_the_data_is_the_data(drawn):
    batches = TrainingBatches(DeviceFaces(drawn, CPU), Recipe(batch_size=10_000), epoch=0)
    assert [len(batch.targets) for batch in batches] == [len(drawn)]


def test_validation_shows_every_face_once_in_order(drawn):
    images = torch.cat([batch.faces for batch in in_order(DeviceFaces(drawn, CPU), 9)])
    assert images.numpy().tobytes() == drawn.images.tobytes()


@pytest.fixture
def rare(drawn):
    """Drawn faces of which one label keeps 3 and the others all."""
    first = np.flatnonzero(drawn.classes == 0)[3:]
    return DeviceFaces(drawn.take(np.setdiff1d(np.arange(len(drawn)), first)), CPU)


def shown(faces, balance, epochs=1):
    """Count how often each label is shown, and how many of these are marked as copies."""
    counts, copies = np.zeros(7, int), np.zeros(7, int)
    for epoch in range(epochs):
        for batch in TrainingBatches(faces, Recipe(batch_size=1, balance=balance), epoch):
            counts[batch.targets.argmax(1)] += 1
            copies[batch.targets.argmax(1)] += bool(batch.is_copy)
    return counts.tolist(), copies.tolist()


def test_without_balance_every_face_is_shown_once_and_none_is_a_copy(rare):
    assert shown(rare, Balance()) == ([3, *[12] * 6], [0] * 7)


def test_minorities_are_filled_up_with_copies_and_keep_their_originals(rare):
    assert shown(rare, Balance(augment_minorities=True)) == ([12] * 7, [9, *[0] * 6])


def test_a_sampler_shows_every_label_about_equally_often(rare):
    counts, _ = shown(rare, Balance(sampler=True), epochs=40)
    assert sum(counts) == 40 * 75
    assert all(0.8 < count / (40 * 75 / 7) < 1.2 for count in counts)


@pytest.mark.parametrize("balance", [Balance(), Balance(sampler=True, augment_minorities=True)])
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_together_show_what_one_shows(rare, balance, processes):
    recipe = Recipe(batch_size=12, balance=balance)
    whole = list(TrainingBatches(rare, recipe, 1))
    parts = [list(TrainingBatches(rare, recipe, 1, rank, processes)) for rank in range(processes)]
    assert {len(each) for each in parts} == {len(whole)}
    for number, batch in enumerate(whole):
        for index, expected in enumerate(batch):
            if expected is not None:
                assert torch.equal(torch.cat([part[number][index] for part in parts]), expected)


@pytest.mark.parametrize("processes", [2, 5])
def test_processes_validate_every_face_once(drawn, processes):
    faces = DeviceFaces(drawn, CPU)
    parts = [torch.cat([b.faces for b in in_order(faces, 9, rank, processes)]) for rank in range(processes)]
    assert len({len(part) for part in parts}) == 1
    assert torch.equal(torch.cat(parts)[: len(faces)], faces.images)


@pytest.fixture
def large(drawn, monkeypatch):
    """Drawn faces that do not fit into memory, in 21 blocks of 4 rows, shuffled in 4 windows."""
    monkeypatch.setenv("MIEN_MEMORY", "0")
    monkeypatch.setattr(batches, "BLOCK", 4)
    monkeypatch.setattr(batches, "WINDOW", 5)
    return DeviceFaces(drawn, CPU)


def test_faces_that_do_not_fit_into_memory_come_once_each_by_windows_of_blocks_from_the_whole_file(large):
    orders = [TrainingBatches(large, Recipe(batch_size=4), epoch).order.numpy() for epoch in (0, 1, 0)]
    assert (orders[0] == orders[2]).all()
    assert (orders[0] != orders[1]).any()
    for order in orders:
        assert sorted(order) == list(range(84))
        blocks, start = [], 0
        while start < 84:  # a window ends where a block comes that was not among the first
            inside = next(n for n in (5, 6) if len(set(order[start : start + 4 * n] // 4)) == n)
            blocks.append(sorted(set(order[start : start + 4 * inside] // 4)))
            start += 4 * inside
        assert sorted(map(len, blocks)) == [5, 5, 5, 6]
        for inside in blocks:
            assert [block // 4 for block in inside[:5]] == [0, 1, 2, 3, 4]  # one of each four consecutive ones
        assert (np.diff(order) != 1).sum() > 50


def test_blocks_keep_what_balance_draws(large, monkeypatch):
    recipe = Recipe(batch_size=4, balance=Balance(sampler=True, augment_minorities=True))
    by_blocks = TrainingBatches(large, recipe, 0)
    monkeypatch.delenv("MIEN_MEMORY")
    at_random = TrainingBatches(large, recipe, 0)
    assert sorted(by_blocks.order.tolist()) == sorted(at_random.order.tolist())
    assert by_blocks.order.tolist() != at_random.order.tolist()
    assert by_blocks.is_copy.sum() == at_random.is_copy.sum()


def test_two_processes_share_the_batches_of_blocks(large):
    recipe = Recipe(batch_size=6)
    one = [batch.faces for batch in TrainingBatches(large, recipe, 0)]
    parts = [[batch.faces for batch in TrainingBatches(large, recipe, 0, rank, processes=2)] for rank in (0, 1)]
    assert all(torch.equal(whole, torch.cat(halves)) for whole, *halves in zip(one, *parts, strict=True))
