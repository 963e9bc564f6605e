"""What a reader must know before believing the figures."""

from mien.evaluation.record import Record

FEW_ROWS = 30
"""Labels with fewer rows are named as rough: their recall's 95% interval is wider than 30 points around one half."""


def cautions(record: Record) -> list[str]:
    """Say what a reader must know before believing the figures; empty where there is nothing."""
    metrics, found = record.all_rows, training_cautions(record)
    if (copies := record.training_copies) and copies.count and copies.without:
        found.append(
            f"{copies.count:,} of the {metrics.n:,} faces are copies of faces the model was trained on: without them "
            f"{copies.without.accuracy.value:.1%} are right, not {metrics.accuracy.value:.1%}."
        )
    if metrics.labels_with_rows < len(metrics.labels):
        empty = ", ".join(each.label for each in metrics.labels if not each.support)
        found.append(f"No rows: {empty}. They have no figures; means are over the other labels ({metrics.labels_with_rows}).")
    if few := [f"{each.label} ({each.support})" for each in metrics.labels if 0 < each.support < FEW_ROWS]:
        found.append(f"Few rows: {', '.join(few)}. Their figures are rough; look at the intervals.")
    if record.data.skipped:
        found.append(f"{record.data.skipped:,} images could not be read and were left out.")
    return found


def training_cautions(record: Record) -> list[str]:
    """Say what the model's training had to do with the rows it was measured on, as far as the model tells; else empty.

    Where a model notes its training faces, copies of these are counted. Where it notes the name of its data alone, training
    rows among others are said to be likely.
    """
    data, trained_on = record.data, record.model.trained_on or {}
    if data.same_as_training:
        return [
            "These are the very rows the model was trained on: the figures say what it has learned by heart, "
            "not what it can do."
        ]
    copies = record.training_copies
    if copies and not copies.without:
        return [
            "Every face is a copy of one the model was trained on: the figures say what it has learned by heart, "
            "not what it can do."
        ]
    if not data.path or data.path != trained_on.get("path"):
        return []
    if data.split == "validation":
        return [
            "Validation rows of the data it was trained on: the epoch and the temperature were chosen on such rows, "
            "so the figures lie a little high. Figures on test rows are the ones to publish."
        ]
    if data.split != "test" and copies is None:
        return [
            "These rows probably include rows the model was trained on, for it was trained on data of the same name: "
            "the figures may lie far too high. Give it data it has not seen, or name a split it was not trained on (--split)."
        ]
    return []
