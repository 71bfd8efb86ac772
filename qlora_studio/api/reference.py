"""The page at `/api/v1/docs`: the OpenAPI description as plain HTML, with nothing fetched from elsewhere."""

from html import escape
from typing import Any

_STYLE = """
:root{color-scheme:light dark;--line:color-mix(in srgb,currentColor 16%,transparent)}
@font-face{font-family:Inter;src:url(/fonts/inter-latin-wght-normal.woff2);font-weight:100 900}
body{font:15px/1.55 Inter,system-ui,sans-serif;max-width:60rem;margin:2.5rem auto;padding:0 1.25rem}
h1{letter-spacing:-.02em;margin-bottom:.25rem}h2{margin-top:2.5rem;font-size:1.1rem}
details{border:1px solid var(--line);border-radius:10px;margin:.5rem 0;padding:.6rem .9rem}
summary{cursor:pointer}code,pre{font:13px/1.5 ui-monospace,monospace}b{display:inline-block;min-width:4.2rem}
table{border-collapse:collapse;width:100%;font-size:14px;margin:.5rem 0}
td,th{text-align:left;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
p{max-width:44rem}
"""


def render(description: dict[str, Any]) -> str:
    """Return the reference page of an OpenAPI description."""
    groups: dict[str, list[str]] = {}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["Other"])[0]
            groups.setdefault(tag, []).append(_operation(path, method, operation, description))
    body = "".join(f"<h2>{escape(tag)}</h2>{''.join(rows)}" for tag, rows in groups.items())
    title = f"{escape(description['info']['title'])} REST API"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>'
        f"<h1>{title}</h1><p>Send <code>Authorization: Bearer TOKEN</code>, with the token that "
        "<code>POST /api/v1/auth/login</code> answers. Errors are problem documents (RFC 9457). A POST that "
        "creates takes an <code>Idempotency-Key</code> header. The machine-readable form is "
        f'<a href="/api/v1/openapi.json">openapi.json</a>.</p>{body}</main></body></html>'
    )


def _operation(path: str, method: str, operation: dict[str, Any], description: dict[str, Any]) -> str:
    rows = [
        (p["name"], p["in"], _type(p.get("schema", {})), p.get("required", False))
        for p in operation.get("parameters", [])
    ]
    for media in operation.get("requestBody", {}).get("content", {}).values():
        schema = _resolve(media.get("schema", {}), description)
        required = schema.get("required", [])
        rows += [(n, "body", _type(s), n in required) for n, s in schema.get("properties", {}).items()]
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{where}</td><td>{escape(kind)}</td>"
        f"<td>{'required' if is_required else ''}</td></tr>"
        for name, where, kind, is_required in rows
    )
    table = f"<table><tr><th>Name</th><th>In</th><th>Type</th><th></th></tr>{cells}</table>" if cells else ""
    answers = ", ".join(operation.get("responses", {}))
    text = escape(operation.get("description", operation.get("summary", ""))).replace("\n", "<br>")
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code></summary>"
        f"<p>{text}</p>{table}<p>Answers: {escape(answers)}</p></details>"
    )


def _resolve(schema: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return description.get("components", {}).get("schemas", {}).get(name, {}) if name else schema


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type(s) for s in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    kind = str(schema.get("type", "any"))
    return f"list of {_type(schema['items'])}" if kind == "array" and "items" in schema else kind
