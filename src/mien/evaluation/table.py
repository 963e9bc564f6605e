"""A report for the terminal: one line that matters, then a table of the labels."""

from collections.abc import Sequence

from mien.evaluation.difference import Difference
from mien.evaluation.metrics import Metrics
from mien.evaluation.subgroups import Subgroups
from mien.evaluation.training_copies import TrainingCopies
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
    return "\n".join(lines + _aligned(rows))


def as_group_table(subgroups: Subgroups) -> str:
    """Write the groups of a column as aligned text, with how far each lies from all other rows."""
    rows = [(f"by {subgroups.column}", "faces", "accuracy", "95% interval", "balanced", "macro-F1", "ECE", "gap to the others")]
    for each in subgroups.groups:
        gap = each.gap
        rows.append(
            (
                each.group,
                f"{each.n:,}",
                f"{each.accuracy.value:.1%}",
                f"{each.accuracy.low:.1%} to {each.accuracy.high:.1%}",
                f"{each.balanced_accuracy:.1%}",
                f"{each.macro_f1:.3f}",
                f"{each.expected_calibration_error:.3f}",
                "too few faces to tell" if not each.enough else "-" if gap is None else _in_points(gap),
            )
        )
    return "\n".join(_aligned(rows))


def copies_line(copies: TrainingCopies) -> str:
    """Say in one line what copies of training faces are worth."""
    kinds = f"{copies.exact:,} exact" + ("" if copies.near is None else f", {copies.near:,} near")
    if not copies.count:
        return "no face is a copy of a training face" + (" (only exact copies are known)" if copies.near is None else "")
    if copies.without is None or copies.worth is None:
        return f"every face is a copy of a training face ({kinds})"
    accuracy = copies.without.accuracy
    return (
        f"without {copies.count:,} copies of training faces ({kinds}): accuracy {accuracy.value:.1%}, 95% interval "
        f"{accuracy.low:.1%} to {accuracy.high:.1%}; the copies are worth {_in_points(copies.worth, ' points')}"
    )


def _in_points(gap: Difference, unit: str = "") -> str:
    return f"{100 * gap.value:+.1f}{unit} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Write rows of cells as lines, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([name.ljust(widths[0]), *(text.rjust(width) for text, width in zip(figures, widths[1:], strict=True))])
        for name, *figures in rows
    ]


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
