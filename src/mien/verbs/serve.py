"""`mien serve`: predictions over HTTP."""

import os
from typing import Any

from mien.inference.classifier import DEFAULT_MODEL
from mien.serving import create_app


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    model: str = DEFAULT_MODEL,
    token: str | None = None,
    no_auth: bool = False,
    **options: Any,
) -> None:
    """Answer HTTP requests: predictions for programs, and a page that predicts in the browser.

    Nothing that is sent is kept.

    Args:
        host: address to listen on; 127.0.0.1 is reached from this machine only.
        port: port to listen on; 0 is any free one.
        model: a model file, a run folder, a name that `mien models` lists, or hf:owner/name.
        token: a secret that every request needs as `Authorization: Bearer TOKEN`; by default that in MIEN_TOKEN, which other
            users of the machine do not see. Needed to listen on other addresses than those of this machine.
        no_auth: listen on other addresses than those of this machine without a token.
        **options: see `mien.serving.create_app`.
    """
    token = token or os.environ.get("MIEN_TOKEN") or None
    app = create_app(model, token=token, **options)  # first, since it says which packages are missing
    from mien.serving.server import run

    run(app, host, port, is_guarded=no_auth or token is not None)
