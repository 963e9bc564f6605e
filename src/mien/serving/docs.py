"""The page /docs: the OpenAPI description of the service as HTML, without scripts and without requests to other hosts."""

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from pathlib import Path
from string import Template
from typing import Any

_HERE = Path(__file__).parent
_LIMITS = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "above", "exclusiveMaximum": "below"}


def docs_page(schema: dict[str, Any], base: str) -> tuple[str, str]:
    """Write the page for the service at an address, and return it with its Content-Security-Policy."""
    style = (_HERE / "docs.css").read_text(encoding="utf-8")
    operations = [
        _operation(method, path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    page = Template((_HERE / "docs.html").read_text(encoding="utf-8")).substitute(
        style=style, version=escape(schema["info"]["version"]), base=escape(base), operations="\n".join(operations)
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return page, f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>", f"<p>{escape(operation['description'])}</p>"]
    if parameters := operation.get("parameters"):
        rows = [
            (each["name"], _kind(each["schema"]), _default(each["schema"]), each.get("description", "")) for each in parameters
        ]
        parts.append(_table(("option", "type", "default", "meaning"), rows))
    if body := operation.get("requestBody"):
        kinds = ", ".join(body["content"])
        parts.append(f"<h3>Body</h3><p>{escape(body['description'])}</p><p>Content types: {escape(kinds)}.</p>")
    answers = [
        (status, ", ".join(each.get("content", {})), each["description"]) for status, each in operation["responses"].items()
    ]
    parts += ["<h3>Answers</h3>", _table(("status", "content type", "meaning"), answers)]
    row = operation["responses"]["200"].get("content", {}).get("application/json", {}).get("schema", {}).get("items")
    if row:
        fields = [(name, _kind(each), each.get("description", "")) for name, each in row["properties"].items()]
        parts += ["<h3>Fields of a row</h3>", _table(("name", "type", "meaning"), fields)]
    return "\n".join([*parts, "</section>"])


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if schema.get("contentMediaType") == "application/json":
        return "JSON"
    kinds = schema.get("type", "any")
    kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
    limits = " and ".join(f"{word} {schema[key]:,.10g}" for key, word in _LIMITS.items() if key in schema)
    return f"{kind}, {limits}" if limits else kind


def _default(schema: dict[str, Any]) -> str:
    value = schema.get("default")
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
