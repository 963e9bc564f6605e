import pytest
import torch

from mien.training.loop import gpu_busy


def test_only_a_gpu_is_asked_how_busy_it_is(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: asked.append(device) or 97)
    assert gpu_busy(torch.device("cpu")) == ""
    assert not asked
    assert gpu_busy(torch.device("cuda:1")) == "  GPU 97% busy"
    assert asked == [torch.device("cuda:1")]


@pytest.mark.parametrize("problem", [ModuleNotFoundError("nvidia-ml-py"), RuntimeError("driver"), Exception("NVML")])
def test_a_gpu_that_does_not_tell_is_passed_over(monkeypatch, problem):
    def utilization(_):
        raise problem

    monkeypatch.setattr(torch.cuda, "utilization", utilization)
    assert gpu_busy(torch.device("cuda")) == ""
