"""The OpenAPI description as tests read it."""

from typing import Any

from qlora_studio.api import PREFIX

Description = dict[str, Any]


def operations(described: Description) -> dict[tuple[str, str], dict[str, Any]]:
    """Each operation under its method and its path, ids all called `id`."""
    found = {}
    for path, methods in described["paths"].items():
        parts = [
            "{id}" if part.startswith("{") and part.endswith("_id}") else part
            for part in path.removeprefix(PREFIX).split("/")
        ]
        for method, operation in methods.items():
            found[method.upper(), "/".join(parts)] = operation
    return found


def resolved(schema: dict[str, Any], described: Description) -> dict[str, Any]:
    """The schema itself, or the one that it refers to."""
    reference = schema.get("$ref", "")
    return described["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema


def names(schema: dict[str, Any], described: Description, depth: int = 2) -> set[str]:
    """All fields of a schema, `a.b` for those of a field's own, whichever of several forms it has."""
    schema = resolved(schema, described)
    found: set[str] = set()
    for form in ("anyOf", "oneOf", "allOf"):
        for inner in schema.get(form, ()):
            found |= names(inner, described, depth)
    if "items" in schema:
        found |= names(schema["items"], described, depth)
    for name, inner in schema.get("properties", {}).items():
        found.add(name)
        if depth:
            found |= {f"{name}.{field}" for field in names(inner, described, depth - 1)}
    return found


def taken(operation: dict[str, Any], described: Description) -> set[str]:
    """What an operation takes in its query, its headers and its body."""
    found = {parameter["name"] for parameter in operation.get("parameters", ())}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        found |= names(content["schema"], described)
    return found


def example(schema: dict[str, Any], described: Description, depth: int = 5) -> Any:
    """Something of a schema's form, with every field that it names; no list is empty."""
    schema = resolved(schema, described)
    for form in ("anyOf", "oneOf", "allOf"):
        if form in schema:
            forms = [resolved(one, described) for one in schema[form]]
            return example(next((one for one in forms if one.get("type") != "null"), {}), described, depth)
    if "enum" in schema or "const" in schema:
        return schema.get("const", next(iter(schema.get("enum", ()))) if "enum" in schema else None)
    kind = schema.get("type")
    if kind == "array":
        inner = schema.get("prefixItems") or [schema.get("items", {})]
        inner = inner * max(1, schema.get("minItems", 0) // len(inner))
        return [example(one, described, depth - 1) for one in inner] if depth else []
    if kind == "object" or "properties" in schema:
        fields = schema.get("properties", {}) if depth else {}
        return {name: example(inner, described, depth - 1) for name, inner in fields.items()}
    if schema.get("format") == "date-time":
        return "2026-01-02T03:04:05Z"
    return {"string": "x", "integer": 1, "number": 1.0, "boolean": True}.get(str(kind))
