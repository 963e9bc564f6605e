"""The token, the size and time of bodies, pages of other sites, and headers."""

import asyncio

import pytest

from mien.serving.guard import OPEN_PATHS, PATHS

TOKEN = "correct horse+battery/staple="


@pytest.fixture(scope="module")
def closed(new_client):
    return new_client(token=TOKEN)


def send_pieces(app, pieces, path="/predict", **headers):
    """Send the body of a request in pieces, or wait for the client where one is a number of seconds; return the answer."""
    sent, pieces = [], list(pieces)

    async def receive():
        if not pieces:
            await asyncio.sleep(60)
        if isinstance(pieces[0], float):
            await asyncio.sleep(pieces.pop(0))
        body = pieces.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(pieces)}

    async def send(message):
        sent.append(message)

    names = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": names, "query_string": b"", "http_version": "1.1"}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent), pieces


@pytest.mark.parametrize("path", [path for path in PATHS if path not in OPEN_PATHS] + ["/", "/nothing", "//health", "/health/"])
@pytest.mark.parametrize(
    "value", [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ä"]
)
def test_without_the_token_nothing_answers(closed, told, path, value):
    headers = {} if value is None else {"authorization": value.encode("latin-1")}
    answer = closed.get(path, headers=headers, follow_redirects=False)
    assert "Authorization: Bearer" in told(answer, 401).replace("TOKEN", "")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in answer.text


def test_with_the_token_everything_answers_and_there_is_no_page(closed, photo):
    headers = {"authorization": f"bearer  {TOKEN}"}
    assert closed.post("/predict", content=photo, headers=headers).status_code == 200
    for path in ("/model", "/metrics", "/docs", "/openapi.json"):
        assert closed.get(path, headers=headers).status_code == 200
    assert closed.get("/", headers=headers).status_code == 404


@pytest.mark.parametrize("path", OPEN_PATHS)
def test_health_checks_need_no_token(closed, path):
    assert closed.get(path).status_code == 200


def test_the_token_is_compared_in_constant_time(closed, monkeypatch):
    compared = []
    monkeypatch.setattr("mien.serving.guard.hmac.compare_digest", lambda *both: compared.append(both) or False)
    assert closed.get("/model", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 401
    assert compared == [(TOKEN.encode(), TOKEN.encode())]


def test_a_body_that_states_too_large_a_size_is_refused_before_it_is_read(new_client, told):
    client = new_client(max_megabytes=0.01)
    assert "larger than 0.01 megabytes" in told(client.post("/predict", content=b"x" * 10_001), 413)
    status, _, left = send_pieces(client.app, [b"x"], content_length="10001")
    assert (status, left) == (413, [b"x"])


def test_a_body_of_unknown_size_is_read_up_to_the_limit(new_client):
    app = new_client(max_megabytes=0.01).app
    status, text, left = send_pieces(app, 10 * [b"x" * 4000])
    assert (status, len(left)) == (413, 7)
    assert b"larger than 0.01 megabytes" in text
    assert send_pieces(app, [b"x" * 4000, b"x" * 6000])[0] == 200
    form = {"content_type": "multipart/form-data; boundary=x"}
    start = b'--x\r\ncontent-disposition: form-data; name="a"; filename="a"\r\n\r\n'
    assert send_pieces(app, [start, *10 * [b"y" * 4000]], **form)[0] == 413


def test_bodies_of_all_requests_together_are_bounded(new_client, monkeypatch):
    monkeypatch.setattr("mien.serving.guard.HELD_BYTES", 5000)
    app = new_client(max_megabytes=0.003).app
    first, last, statuses = b"x" * 2900, b"x", {}

    async def post(number, pieces, release):
        pieces = list(pieces)

        async def receive():
            if pieces != [first, last]:
                await release.wait()
            if not pieces:
                await asyncio.sleep(60)
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(message):
            statuses.setdefault(number, message.get("status"))

        await app({"type": "http", "method": "POST", "path": "/predict", "headers": [], "query_string": b""}, receive, send)

    async def main():
        release = asyncio.Event()
        tasks = [asyncio.create_task(post(number, [first, last], release)) for number in range(3)]
        await asyncio.sleep(0.1)
        assert statuses == {2: 503}
        release.set()
        await asyncio.gather(*tasks)
        await post(3, [first], release)

    asyncio.run(main())
    assert statuses == {2: 503, 0: 200, 1: 200, 3: 200}


def test_a_body_that_is_sent_too_slowly_is_refused(new_client):
    app = new_client(send_seconds=0.3).app
    status, text, left = send_pieces(app, [b"x", 0.1, b"x", 0.1, b"x", 0.2, b"x", 0.1, b"x"])
    assert status == 408
    assert b"not sent within 0.3 seconds" in text
    assert len(left) >= 2


def test_a_client_that_does_not_take_its_answer_is_left(new_client, photo):
    app = new_client(send_seconds=0.3).app
    messages = [{"type": "http.request", "body": photo, "more_body": False}]

    async def receive():
        return messages.pop() if messages else await asyncio.sleep(60)

    async def send(_):
        await asyncio.sleep(60)

    async def main():
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": [], "query_string": b""}
        await asyncio.wait_for(app(scope, receive, send), 10)

    asyncio.run(main())


@pytest.mark.parametrize(
    "origin", ["http://elsewhere.example", "null", "http://testserver.evil.example", "http://testserver:81"]
)
def test_pages_of_other_sites_may_not_send_photos(client, photo, told, origin):
    assert "other sites" in told(client.post("/predict", content=photo, headers={"origin": origin}), 403)


def test_the_own_page_and_programs_may(client, photo):
    assert client.post("/predict", content=photo, headers={"origin": "http://testserver"}).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/model", "/docs", "/", "/nothing"])
def test_headers_of_safety(client, path):
    answer = client.get(path, headers={"origin": "http://elsewhere.example"})
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy


def test_other_sites_get_no_answer_to_a_preflight(client):
    headers = {"origin": "http://elsewhere.example", "access-control-request-method": "POST"}
    assert client.options("/predict", headers=headers).status_code in (403, 405)
