"""Property tests against the OpenAPI description: answers are as it says, and what it forbids is refused."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance

from mien.serving import create_app

load_all_checks()


@schemathesis.serializer("application/zip", "video/*")
def as_bytes(_, value):
    return value if isinstance(value, bytes) else str(value).encode()


SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", create_app(page=False, threads=1))


def examples(count):
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def check(case):
    # without the check that every valid request gets 2xx: the labels that may be named depend on the model
    case.call_and_validate(excluded_checks=[positive_data_acceptance])


@SCHEMA.parametrize()
@examples(15)
def test_answers_are_as_described(case):
    check(case)


@pytest.mark.slow
@SCHEMA.parametrize()
@examples(1000)
def test_many_answers_are_as_described(case):
    check(case)


def test_the_description_names_every_path_and_status():
    content = SCHEMA.raw_schema
    assert [*content["paths"]] == ["/predict", "/health", "/ready", "/model", "/metrics"]
    operation = content["paths"]["/predict"]["post"]
    assert {*operation["responses"]} == {"200", "400", "401", "403", "408", "413", "415", "422", "431", "503"}
    assert all("problem+json" in str(answer["content"]) for status, answer in operation["responses"].items() if status != "200")
