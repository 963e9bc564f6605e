"""The options and the JSON body of a request: their form is checked here, their values by `mien.predict`, in its own words."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Json, PlainValidator, TypeAdapter, WithJsonSchema
from pydantic_core import from_json

from mien.errors import KINDS, check_number, shortened, suggestion
from mien.inference.classifier import UNSURE
from mien.inference.pipeline import SMOOTHING

LEAST_SCORE, MOST_EVERY = 0.1, 1000  # below the score too much would be examined; the time is checked at each frame read
MOST_ERRORS = 20  # listed in an answer
MOST_QUOTED = 40  # characters of what was sent that are quoted
EXAMPLE = '{"images": ["data:..."]}'


def _as(kind: Any) -> WithJsonSchema:
    """Describe an option more strictly than it is checked here."""
    return WithJsonSchema(TypeAdapter(kind).json_schema())


def _between(least: float, most: float) -> WithJsonSchema:
    return WithJsonSchema({"type": "number", "minimum": least, "maximum": most})


def _text(given: str) -> str:
    return shortened(given, MOST_QUOTED)


def _prior(given: str) -> Any:
    """Read a power or shares; any other text stays."""
    with suppress(ValueError):
        return float(given)
    with suppress(ValueError):
        if isinstance(shares := from_json(given), dict):
            return shares
    return _text(given)


Share = Annotated[float, Field(ge=0, le=1)]
Score = Annotated[float, Field(ge=LEAST_SCORE, le=1 - 1e-6)]


class Options(BaseModel):
    """The options of `mien.predict` that a request may set."""

    model_config = ConfigDict(extra="forbid")

    head: Annotated[Any, PlainValidator(_text), _as(Literal["crowd", "label"] | None)] = Field(
        None, description="output of a model with two heads"
    )
    prior: Annotated[
        Any, PlainValidator(_prior), _as(Literal["training", "balanced"] | Share | Json[dict[str, float]] | None)
    ] = Field(
        None,
        description='how often each label is expected: training, balanced, a power between (0 to 1), or {"happy": 0.5, ...}',
    )
    labels: Annotated[Json[dict[str, Any]] | None, _as(Json[dict[str, str | list[str] | None]] | None)] = Field(
        None, description='what becomes of the labels: {"negative": ["angry", "sad"], "neutral": "calm", "disgust": null}'
    )
    faces: bool = Field(False, description="the images are cropped faces already")
    margin: Annotated[float, _between(-0.4, 2)] = Field(
        0.0, description="extra room around each face, as a share of its square"
    )
    min_size: Annotated[float, _between(0, 1e9)] = Field(0.0, description="least size of a face in pixels")
    min_score: Annotated[float | None, _as(Score | None)] = Field(
        None, description="least score of a face; below 0.1 too much would be examined"
    )
    threshold: Annotated[float, _between(0, 1)] = Field(UNSURE, description="confidence below which a prediction is unsure")
    every: Annotated[int, WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MOST_EVERY})] = Field(
        1, description="of videos, process only every N-th frame"
    )
    track: bool = Field(True, description="in videos, number the faces by person")
    smoothing: Annotated[float, _between(0, 1e9)] = Field(
        SMOOTHING, description="seconds over which probabilities in videos are averaged"
    )

    def checked(self) -> dict[str, Any]:
        """Return the options of `mien.predict`; MienError if one is outside of the limits of the service."""
        check_number("`every`", self.every, 1, MOST_EVERY)
        if self.min_score is not None:
            check_number("The least score of a face", self.min_score, LEAST_SCORE, whole=False)
        return self.model_dump()


class DataURIs(BaseModel):
    """The JSON body of a request."""

    model_config = ConfigDict(extra="forbid")

    images: list[Annotated[str, Field(pattern="^data:[^,]*,")]] = Field(min_length=1)


def mistakes(errors: Iterable[Any]) -> list[dict[str, str]]:
    """Say in plain words what pydantic found in a request: for each mistake its name and a sentence."""
    # a key that does not exist explains why another is missing
    chosen = sorted(errors, key=lambda each: each["type"] != "extra_forbidden")[:MOST_ERRORS]
    return [_in_query(each) if each["loc"][:1] == ("query",) else _in_body(each) for each in chosen]


def _in_query(error: Any) -> dict[str, str]:
    name, kind, given = _text(str(error["loc"][1])), error["type"].partition("_")[0], error["input"]
    if error["type"] == "extra_forbidden":
        known = Options.model_fields
        hint = suggestion(name, known, f"there are {', '.join(known)}.")
        return {"name": name, "message": f"{name} is no option; {hint}"}
    needed = 'JSON such as {"happy": "glad", "disgust": null}' if name == "labels" else KINDS[kind]
    return {"name": name, "message": f"{name} must be {needed}, not {shortened(given, MOST_QUOTED, repr)}."}


def _in_body(error: Any) -> dict[str, str]:
    kind, place = error["type"], error["loc"]
    if not place:
        problem = "is no valid JSON" if kind == "json_invalid" else "must be an object with the key images"
        return {"name": "body", "message": f"The body {problem}; send {EXAMPLE}."}
    name = _text(str(place[0]))
    if kind == "extra_forbidden":
        hint = suggestion(name, DataURIs.model_fields, "there is only images.")
        return {"name": name, "message": f"{name} is no key of the body; {hint}"}
    if place[1:]:
        name = f"images[{place[1]}]"
        words = 'a data URI, which begins with "data:" and has a comma; paths and addresses are not read'
        return {"name": name, "message": f"{name} must be {words}."}
    problem = {"missing": "is missing", "too_short": "is empty"}.get(kind, "must be a list of data URIs")
    return {"name": name, "message": f"{name} {problem}; send {EXAMPLE}."}
