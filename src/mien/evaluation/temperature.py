"""What a model's probabilities would be worth without its calibration temperature."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import log_loss

from mien.evaluation.calibration import ConfidenceBin, expected_calibration_error, reliability


@dataclass(frozen=True)
class BeforeTemperature:
    """The probabilities as they were before their logits were divided by the temperature; with it, see `Metrics`.

    Attributes:
        temperature: what the model file divides the logits by; above 1 it makes answers more modest, below 1 surer.
        log_loss: as in `Metrics`.
        expected_calibration_error: as in `Metrics`.
        reliability: as in `Metrics`.
    """

    temperature: float
    log_loss: float
    expected_calibration_error: float
    reliability: tuple[ConfidenceBin, ...]


def without_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Undo a temperature: logits are the temperature times ln(probability), up to a constant that softmax takes away.

    A probability that float32 rounded to 0 stays 0.

    Args:
        probabilities: (..., K), each row sums to 1.
        temperature: what the logits were divided by, above 0.

    Returns:
        The same shape, float32.
    """
    powers = (probabilities / probabilities.max(axis=-1, keepdims=True)).astype(np.float64) ** temperature
    undone: np.ndarray = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return undone


def measure_before_temperature(views: np.ndarray, truth: np.ndarray, temperature: float) -> BeforeTemperature:
    """Measure probabilities as they were before their temperature.

    Args:
        views: (V, N, K), the answers whose mean is the prediction; one where there is no test-time augmentation.
        truth: (N,), label indices.
        temperature: what the logits were divided by.
    """
    before = without_temperature(views, temperature).mean(axis=0)
    bins = reliability(before.max(axis=1), before.argmax(axis=1) == truth)
    return BeforeTemperature(
        temperature=temperature,
        log_loss=float(log_loss(truth, before, labels=np.arange(before.shape[1]))),
        expected_calibration_error=expected_calibration_error(bins),
        reliability=bins,
    )
