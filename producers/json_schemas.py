"""JSON Schemas of the commands, of the report and of a seal, and the seals' test vectors: generated, and shipped
with this package.

``python -m producers.json_schemas`` writes them to ``producers/schemas/``; ``--check`` fails when they are out of date.
"""

import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from producers.commands import COMMANDS
from producers.report import Report
from producers.seal import HEADER, VERSION
from producers.seal_vectors import vectors
from producers.signing import NAME

VECTORS = "seal-vectors.json"
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Schemas by file name: ``orders.close.json`` holds the keyword arguments of the task ``orders.close``."""
    by_file_name = {
        f"{task}.json": {
            "$schema": DRAFT,
            "title": f"Keyword arguments of {task}",
            **_without(model.model_json_schema(mode="validation"), "title"),
        }
        for task, model in COMMANDS.items()
    }
    report = Report.model_json_schema(mode="serialization")
    by_file_name["report.json"] = {"$schema": DRAFT, "title": "Report of a command", **_without(report, "title")}
    by_file_name[f"{HEADER}.json"] = _schema_of_a_seal()
    return by_file_name


def _schema_of_a_seal() -> dict[str, Any]:
    name = {"type": "string", "pattern": f"^{NAME}$"}
    time = {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10**15}
    fields = {
        "v": {"type": "integer", "const": VERSION},
        "by": {**name, "description": "Whose command it is; the command's id begins with it and a dot."},
        "kid": {**name, "description": "Which of the owner's keys has signed."},
        "at": {**time, "description": "When it was sealed, UNIX milliseconds."},
        "until": {**time, "description": "The command does not begin after it; at most 24 h after `at`."},
        "sig": {
            "type": "string",
            "pattern": "^[A-Za-z0-9+/]{85}[AQgw]==$",
            "description": "Ed25519, base64, of `orders-command-v1`, a line feed and the canonical JSON (RFC 8785) of "
            "{v, by, kid, at, until, task, id, kwargs}.",
        },
    }
    closed = {"type": "object", "additionalProperties": False, "required": sorted(fields)}
    return {"$schema": DRAFT, "title": f"The message header {HEADER}", **closed, "properties": fields}


def shipped(name: str) -> dict[str, Any]:
    """A schema as shipped, for example ``shipped("report.json")``."""
    text = files("producers").joinpath("schemas", name).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _without(schema: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != key}


def main(arguments: list[str]) -> int:
    """Write the schemas, or with ``--check`` print which are out of date. Returns the exit code."""
    folder = Path(__file__).parent / "schemas"
    documents = {**schemas(), VECTORS: vectors()}
    texts = {name: json.dumps(document, indent=2, sort_keys=True) + "\n" for name, document in documents.items()}
    if "--check" in arguments:
        stale = [n for n, text in texts.items() if not (folder / n).is_file() or (folder / n).read_text() != text]
        for name in stale:
            sys.stderr.write(f"producers/schemas/{name} is out of date: run `make schemas`\n")
        return 1 if stale else 0
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
