import torch

from mien.training.batches import DeviceFaces, TrainingBatches, ValidationBatches

CPU = torch.device("cpu")


def test_an_epoch_shows_every_face_once_in_an_order_of_its_own(drawn):
    faces = DeviceFaces(drawn, CPU)
    orders = []
    for epoch in (0, 1, 0):
        batches = TrainingBatches(faces, 10, seed=0, epoch=epoch)
        images = torch.cat([images for images, _ in batches])
        assert len(batches) == len(drawn) // 10 == len(images) // 10
        orders.append(images)
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2])
    assert len({image.numpy().tobytes() for image in orders[0]}) == len(orders[0])


def test_a_batch_larger_than_the_data_is_the_data(drawn):
    batches = TrainingBatches(DeviceFaces(drawn, CPU), 10_000, seed=0, epoch=0)
    assert [len(targets) for _, targets in batches] == [len(drawn)]


def test_validation_shows_every_face_once_in_order(drawn):
    images = torch.cat([images for images, _ in ValidationBatches(DeviceFaces(drawn, CPU), 9)])
    assert images.numpy().tobytes() == drawn.images.tobytes()
