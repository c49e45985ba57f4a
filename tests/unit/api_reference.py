"""The OpenAPI document as the tables of docs/api.md."""

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

# Of every route, and of each that needs a token: said once, above the table.
_ALWAYS, _GUARDED = {"429", "500"}, {"401", "403", "503"}
_JSON = "application/json"


def reference(document: Json) -> str:
    """Routes in the order of the document, then the objects by name."""
    objects = dict(document["components"]["schemas"])
    routes = [
        _route(method, path, operation, objects)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    named = [f"| `{name}` | {_fields(schema)} |" for name, schema in sorted(objects.items())]
    return "\n".join(
        [
            "| route | scope | parameters | body | answers |",
            "|---|---|---|---|---|",
            *routes,
            "",
            "| object | fields; `?`: may be missing |",
            "|---|---|",
            *named,
        ]
    )


def _route(method: str, path: str, operation: Json, objects: Json) -> str:
    scope = next((told["token"][0] for told in operation.get("security", []) if told), "")
    told = operation.get("parameters", [])
    parameters = "<br>".join(_parameter(each) for each in told if each["name"] != "id")
    body = operation.get("requestBody")
    cells = [
        f"`{method.upper()} {path}`",
        str(scope),
        parameters,
        _body(body["content"][_JSON]["schema"], objects) if body else "",
        ", ".join(_answers(operation["responses"], is_guarded=bool(scope))),
    ]
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


def _parameter(told: Json) -> str:
    default = told["schema"].get("default")
    said = [
        "" if told["in"] in ("path", "query") else told["in"],
        f"{default} if missing" if default else "",
        told.get("description", ""),
    ]
    # What may be null is what may be missing.
    kind = _kind(told["schema"]).removesuffix(" or null")
    return f"`{told['name']}` {kind}{_in_brackets(said)}"


def _body(schema: Json, objects: Json) -> str:
    """Those that routes read by hand are no objects of the document yet."""
    if "$ref" not in schema:
        objects[schema["title"]] = schema
        return f"`{schema['title']}`"
    return _kind(schema)


def _answers(responses: Json, *, is_guarded: bool) -> Iterator[str]:
    """Errors have one form, so their status says enough."""
    common = _ALWAYS | (_GUARDED if is_guarded else set())
    assert common <= responses.keys(), responses.keys()
    for status in sorted(responses.keys() - common):
        content = responses[status].get("content", {})
        kinds = ", ".join(
            _kind(form.get("schema", {})) if name == _JSON else f"`{name}`"
            for name, form in content.items()
        )
        is_error = kinds == "`Problem`"
        yield f"{status} {kinds}" if kinds and not is_error else status


def _fields(schema: Json) -> str:
    if "properties" not in schema:
        return _kind(schema)
    required = schema.get("required", [])
    return "<br>".join(
        f"`{name}`{'' if name in required else '?'} {_kind(field)}"
        + _in_brackets([field.get("description", "")])
        for name, field in schema["properties"].items()
    )


def _in_brackets(said: list[str]) -> str:
    parts = [part for part in said if part]
    return f" ({', '.join(parts)})" if parts else ""


def _kind(schema: Json) -> str:
    match schema:
        case {"$ref": ref}:
            return f"`{ref.rpartition('/')[2]}`"
        case {"anyOf": several}:
            return " or ".join(_kind(each) for each in several)
        case {"enum": values}:
            return " / ".join(f"`{value}`" for value in values)
        case {"const": value}:
            return f"`{value}`"
        case {"type": "array"}:
            return f"list of {_kind(schema['items'])}"
        case {"type": "object", "additionalProperties": dict() as values}:
            return f"object of {_kind(values)}"
        case {"type": "string", "format": form}:
            return str(form)
        case {"type": "string", "maxLength": most}:
            return f"string of at most {most}"
        case {"type": "integer", "minimum": least, "maximum": most}:
            return f"integer from {least} to {most}"
    return str(schema.get("type", "anything"))
