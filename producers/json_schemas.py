"""JSON Schemas of the four commands and of the report, generated from the models and shipped with this package.

``python -m producers.json_schemas`` writes them to ``producers/schemas/``; ``--check`` fails when they are out of date.
"""

import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from producers.commands import COMMANDS
from producers.report import Report

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
    return by_file_name


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
    texts = {name: json.dumps(schema, indent=2, sort_keys=True) + "\n" for name, schema in schemas().items()}
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
