"""What a drawn face does: expressions as facial movements."""

from dataclasses import asdict, dataclass

import numpy as np

from mien.labels import FER2013


@dataclass(frozen=True)
class Movement:
    """What a face does, from 0 (at rest) to 1 (strong).

    The names are those of the Facial Action Coding System, with the number of the action unit.

    Source: Ekman, Friesen and Hager, Facial Action Coding System (2002).
    """

    inner_brow_raise: float = 0.0  # 1
    outer_brow_raise: float = 0.0  # 2
    brow_lower: float = 0.0  # 4
    upper_lid_raise: float = 0.0  # 5
    cheek_raise: float = 0.0  # 6
    lid_tighten: float = 0.0  # 7
    nose_wrinkle: float = 0.0  # 9
    upper_lip_raise: float = 0.0  # 10
    corner_pull: float = 0.0  # 12
    corner_depress: float = 0.0  # 15
    chin_raise: float = 0.0  # 17
    lip_pucker: float = 0.0  # 18
    lip_stretch: float = 0.0  # 20
    lip_press: float = 0.0  # 24
    lips_part: float = 0.0  # 25
    jaw_drop: float = 0.0  # 26
    lid_droop: float = 0.0  # 43
    squareness: float = 0.0  # 22: how far an open mouth is a rectangle rather than an oval
    gaze_across: float = 0.0  # 61, 62; from -1 to 1
    gaze_down: float = 0.0  # 63, 64; from -1 to 1
    asymmetry: float = 0.0  # from -1 to 1: the left or the right half moves more


_FORMS: dict[str, tuple[Movement, ...]] = {
    "angry": (
        Movement(brow_lower=1.0, upper_lid_raise=0.5, lid_tighten=0.8, lip_press=1.0, chin_raise=0.4, corner_depress=0.25),
        Movement(brow_lower=1.0, upper_lid_raise=0.6, lid_tighten=0.7, upper_lip_raise=0.3, lips_part=0.9, squareness=1.0),
    ),
    "disgust": (
        Movement(
            brow_lower=0.45,
            nose_wrinkle=1.0,
            upper_lip_raise=1.0,
            cheek_raise=0.6,
            lid_tighten=0.6,
            corner_depress=0.5,
            chin_raise=0.5,
        ),
        Movement(
            brow_lower=0.4,
            nose_wrinkle=1.0,
            upper_lip_raise=1.0,
            cheek_raise=0.6,
            lid_tighten=0.7,
            corner_depress=0.4,
            lips_part=0.4,
        ),
    ),
    "fear": (
        Movement(
            inner_brow_raise=1.0,
            outer_brow_raise=0.45,
            brow_lower=0.5,
            upper_lid_raise=1.0,
            lip_stretch=1.0,
            corner_depress=0.3,
            lips_part=0.55,
            squareness=0.7,
        ),
        Movement(
            inner_brow_raise=1.0,
            outer_brow_raise=0.4,
            brow_lower=0.5,
            upper_lid_raise=0.9,
            lip_stretch=0.9,
            corner_depress=0.35,
            lips_part=0.5,
            squareness=0.6,
            jaw_drop=0.35,
        ),
    ),
    "happy": (
        Movement(cheek_raise=0.8, corner_pull=1.0, lips_part=0.7, inner_brow_raise=0.15),
        Movement(cheek_raise=1.0, corner_pull=1.0, lips_part=0.7, jaw_drop=0.35, inner_brow_raise=0.25, outer_brow_raise=0.2),
        Movement(cheek_raise=0.7, corner_pull=1.0, inner_brow_raise=0.1),
    ),
    "sad": (
        Movement(inner_brow_raise=1.0, brow_lower=0.35, lid_droop=0.45, corner_depress=1.0, chin_raise=0.5, gaze_down=0.6),
        Movement(inner_brow_raise=0.9, brow_lower=0.3, lid_droop=0.3, corner_depress=1.0, chin_raise=0.8),
    ),
    "surprise": (
        Movement(inner_brow_raise=1.0, outer_brow_raise=1.0, upper_lid_raise=0.75, jaw_drop=1.0, lips_part=0.4, lip_pucker=0.5),
        Movement(inner_brow_raise=1.0, outer_brow_raise=1.0, upper_lid_raise=0.8, jaw_drop=0.6, lips_part=0.4, lip_pucker=0.8),
    ),
    "neutral": (Movement(),),
}
"""The movements of each expression, in one or more typical forms.

Source: Ekman and Friesen, Unmasking the Face (1975): in fear the raised brows are drawn together and the lips
stretched, in surprise they are not; in anger the brows come down and the lids stare, in disgust the nose wrinkles.
"""

_RESTLESS = ("inner_brow_raise", "outer_brow_raise", "brow_lower", "lid_droop", "lid_tighten", "corner_depress", "lips_part")


def express(expression: str, random: np.random.Generator) -> Movement:
    """Choose how strongly and in which form a face shows an expression.

    Args:
        expression: one of FER-2013's labels.
        random: where the choice comes from.

    Raises:
        MienError: if there is no such expression.
    """
    FER2013.index(expression)
    forms = _FORMS[expression]
    form = asdict(forms[random.integers(len(forms))])
    intensity = random.uniform(0.7, 1.05)
    # Each movement varies by itself, and a face at rest is never quite at rest.
    rest = np.abs(random.normal(0, 0.05, len(_RESTLESS)))
    varied = {name: amount * intensity * random.uniform(0.82, 1.15) for name, amount in form.items() if amount}
    moved = form | dict(zip(_RESTLESS, rest.tolist(), strict=True)) | varied
    moved["gaze_down"] += random.normal(0, 0.12)
    moved["gaze_across"] = random.normal(0, 0.25)
    moved["asymmetry"] = random.normal(0, 0.35)
    return Movement(**moved)
