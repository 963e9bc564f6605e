"""A report for the terminal: one line that matters, then a table of the labels."""

from mien.evaluation.metrics import Metrics
from mien.evaluation.tta import AugmentationGain

HEADER = ("label", "precision", "recall", "95% interval", "F1", "AP", "AUC", "support")


def as_table(metrics: Metrics) -> str:
    """Write the figures as aligned text; a figure that does not exist is a dash."""
    accuracy = metrics.accuracy
    means = (
        f"balanced accuracy {metrics.balanced_accuracy:.1%}   macro-F1 {metrics.macro_f1:.3f}"
        f"   weighted-F1 {metrics.weighted_f1:.3f}"
    )
    if metrics.labels_with_rows < len(metrics.labels):
        means += f"   (over {metrics.labels_with_rows} of {len(metrics.labels)} labels: the others have no rows)"
    losses = f"log loss {metrics.log_loss:.3f}   Brier {metrics.brier:.3f}   ECE {metrics.expected_calibration_error:.3f}"
    if metrics.cross_entropy is not None:
        losses += f"   cross-entropy with the votes {metrics.cross_entropy:.3f}"
    lines = [
        f"accuracy {accuracy.value:.1%}   95% interval {accuracy.low:.1%} to {accuracy.high:.1%}"
        f"   {accuracy.count:,} of {accuracy.of:,} faces",
        means,
        losses,
        "",
    ]
    rows = [HEADER]
    for each in metrics.labels:
        recall = each.recall
        rows.append(
            (
                each.label,
                "-" if each.precision is None else f"{each.precision:.1%}",
                "-" if recall is None else f"{recall.value:.1%}",
                "-" if recall is None else f"{recall.low:.1%} to {recall.high:.1%}",
                "-" if each.f1 is None else f"{each.f1:.3f}",
                "-" if each.average_precision is None else f"{each.average_precision:.3f}",
                "-" if each.roc_auc is None else f"{each.roc_auc:.3f}",
                f"{each.support:,}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    for name, *figures in rows:
        cells = [name.ljust(widths[0]), *(text.rjust(width) for text, width in zip(figures, widths[1:], strict=True))]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def augmentation_line(gain: AugmentationGain, metrics: Metrics) -> str:
    """Say what test-time augmentation brought and cost.

    Args:
        gain: the difference it made.
        metrics: the figures with it.
    """
    test = gain.test
    return (
        f"test-time augmentation {gain.kind}: accuracy {gain.accuracy_without.value:.1%} without, {metrics.accuracy.value:.1%} "
        f"with it ({100 * test.difference:+.1f} points, 95% interval {100 * test.low:+.1f} to {100 * test.high:+.1f}, "
        f"McNemar's exact p = {test.p_value:.2g}); {gain.seconds_ratio:.1f} times the seconds"
    )
