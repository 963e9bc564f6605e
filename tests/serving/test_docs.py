"""The page /docs describes the whole service, and asks nothing of other hosts."""

import re
from html.parser import HTMLParser

from mien.serving.app import TEXTS
from mien.serving.options import Options


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag != "meta":
            self.open.append(tag)
        self.links += [value for name, value in attributes if name in ("href", "src", "action")]
        assert not [name for name, _ in attributes if name.startswith("on")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_has_every_path_option_status_and_field(client):
    page = _Page(client.get("/docs").text)
    assert page.open == []
    words = " ".join(page.texts)
    names = [*Options.model_fields, *TEXTS["rows"]["items"]["properties"], *map(str, TEXTS["problems"])]
    names += ["POST /predict", "GET /health", "GET /ready", "GET /model", "GET /metrics", "multipart/form-data"]
    assert [name for name in names if name not in words] == []
    assert "http://testserver/predict" in words


def test_the_page_asks_nothing_of_other_hosts(client):
    answer = client.get("/docs", headers={"host": 'a"><script>'})
    assert "<script" not in answer.text
    assert _Page(answer.text).links == ["openapi.json"]
    assert "url(" not in answer.text
    style = re.search(r"style-src ('sha256-[\w+/=]+')", answer.headers["content-security-policy"])
    assert style
    assert "script-src" not in answer.headers["content-security-policy"]
