"""An audit as one page: what was looked for, how, how many there are, and the pictures to judge it by."""

from dataclasses import dataclass
from typing import Any

from mien.data.copies import SAME_PICTURE
from mien.data.outliers import FAR_FROM_FACES, NEARLY_BLANK, ODD_SIZE, TOO_DARK_OR_BRIGHT
from mien.evaluation.audit import Audit
from mien.evaluation.audit_sheets import Sheet, conflict_sheet, crowd_sheet, exact_sheet, near_sheet, single_sheet, size_sheet
from mien.evaluation.page import new_environment


@dataclass(frozen=True)
class Section:
    """One kind of finding on the page.

    Attributes:
        kind: its name in findings.csv.
        title: its heading.
        how: how it was found.
        order: which tiles of the sheet come first.
        unit: what a tile shows, in the plural.
        rows: how many rows were found.
        sheet: the pictures.
    """

    kind: str
    title: str
    how: str
    order: str
    unit: str
    rows: int
    sheet: Sheet


def render(audit: Audit, record: dict[str, Any]) -> str:
    """Write the page.

    Args:
        audit: what was found.
        record: what audit.json holds.
    """
    return (
        new_environment()
        .get_template("audit.html")
        .render(
            record=record,
            sections=sections(audit),
            labels=audit.faces.labels.names,
            overlaps={(each.split, each.other): each for each in audit.overlaps},
            sizes=_sizes(record["data"]),
            has_sizes=audit.faces.sizes is not None,
            has_votes=audit.faces.votes is not None,
        )
    )


def sections(audit: Audit) -> list[Section]:
    """Arrange the findings with their sheets, in the order of `mien.evaluation.audit.KINDS`."""
    return [_section(audit, kind) for kind in audit.findings]


def _sizes(data: dict[str, Any]) -> str:
    """Say how large the images are and were, as width by height."""
    here = f"{data['size']}{TIMES}{data['size']}"
    if (original := data["original_sizes"]) is None:
        return f"{here} pixels each"
    sizes = (original[name] for name in ("smallest", "median", "largest"))
    smallest, median, largest = (f"{width}{TIMES}{height}" for height, width in sizes)
    if smallest == largest:
        return f"{smallest} pixels each" + (f", compared at {here}" if smallest != here else "")
    return f"{smallest} to {largest} pixels (median {median}), compared at {here}"


def _section(audit: Audit, kind: str) -> Section:
    title, how, order, unit = TEXTS[kind]
    size = f"{audit.faces.size} by {audit.faces.size}"
    if kind == "exact-copy":
        sheet = exact_sheet(audit)
    elif kind == "near-copy":
        sheet = near_sheet(audit)
    elif kind == "conflict":
        sheet = conflict_sheet(audit)
    elif kind == "size":
        sheet = size_sheet(audit)
    elif kind == "crowd":
        sheet = crowd_sheet(audit)
    else:
        sheet = single_sheet(audit, kind, VALUES[kind])
    return Section(kind, title, how.format(size=size), order, unit, len(audit.findings[kind].rows), sheet)


TIMES = "\N{MULTIPLICATION SIGN}"

VALUES = {"blank": "contrast {:.1f}", "no-face": "{:.1f} deviations", "brightness": "mean {:.0f}"}
"""What stands below a single face."""

TEXTS = {
    "exact-copy": (
        "Exact copies",
        "The same pixels, at {size} pixels. Each face stands for its group.",
        "groups across splits first, then the largest",
        "groups",
    ),
    "near-copy": (
        "Near copies",
        "The same picture in other pixels: brighter, compressed, with a watermark, mirrored, or cut out a pixel or two of 48 "
        "apart. Candidates are the nearest of small thumbnails; a pair is confirmed where the details (what a Gaussian blur "
        f"of 1 pixel leaves and one of 4 takes away) correlate by {SAME_PICTURE:g} or more.",
        "the least alike first, so that the rest is surer",
        "pairs",
    ),
    "conflict": (
        "Copies with conflicting labels",
        "Groups of copies, exact or near, also by way of another copy, that bear more than one label.",
        "the largest groups first, a face of each label",
        "groups",
    ),
    "blank": (
        "Constant and nearly blank",
        f"The pixels' standard deviation is below {NEARLY_BLANK:g} grays of 256.",
        "the emptiest first",
        "faces",
    ),
    "no-face": (
        "May show no face",
        "Histograms of oriented gradients lie farther from the mean of all images than is usual, by more than "
        f"{FAR_FROM_FACES:g} robust standard deviations. A hint and no proof: a profile is far from the mean too.",
        "the farthest first",
        "images",
    ),
    "brightness": (
        "Far darker or brighter than the rest",
        f"The pixels' mean is more than {TOO_DARK_OR_BRIGHT:g} robust standard deviations from the median. A hint: such faces "
        "can be good ones.",
        "the farthest first",
        "faces",
    ),
    "size": (
        "Of another size or shape than the rest",
        "Height, width or their ratio, before the image was brought to {size} pixels, lies more than "
        f"{ODD_SIZE:g} robust standard deviations from the median of all (in logarithms), and more than a factor of 2. Small "
        "ones are blurred by enlarging, odd shapes are stretched.",
        "the farthest first",
        "images",
    ),
    "crowd": (
        "The crowd sees something else",
        "Of the clear votes beside the labels none is for the row's own label.",
        "the most agreed on first",
        "faces",
    ),
}
"""Title, how it was found, order and unit of every kind of finding."""
