import io

import pytest
from PIL import Image

from mien.drawn import draw_photo
from mien.serving import PACKAGES, create_app


def pytest_pycollect_makemodule():
    """The tests of this folder are skipped where the extra is not installed."""
    for package in (*PACKAGES, "schemathesis"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'mien[serve,dev]'")


def png(*labels, seed=1):
    """The bytes of a drawn photo."""
    file = io.BytesIO()
    Image.fromarray(draw_photo(list(labels), seed=seed)[0]).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def photo():
    return png("happy")


@pytest.fixture(scope="session")
def crowd():
    return png("happy", "sad", "angry", seed=2)


@pytest.fixture(scope="session")
def new_client():
    """Make a client of an app with other limits."""
    from starlette.testclient import TestClient

    return lambda **limits: TestClient(create_app(**limits), raise_server_exceptions=False)


@pytest.fixture(scope="session")
def client(new_client):
    with new_client(threads=1) as client:
        yield client


@pytest.fixture(scope="session")
def told():
    """Check an error's form, and return its sentence."""

    def told(response, status):
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        content = response.json()
        assert (content["status"], content["type"]) == (status, "about:blank")
        assert "Traceback" not in response.text
        assert "/" not in content["detail"].replace("application/json", "").replace("text/html", "").replace("/docs", ""), (
            "a path"
        )
        return content["detail"]

    return told
