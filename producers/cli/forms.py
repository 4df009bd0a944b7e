"""The form of what `orders` prints: tables for people (the default), JSON, or YAML.

``-o FORM`` may stand before or after a command's name; ``--json`` means ``-o json``. A command that prints several
documents (:func:`emit_line`) prints JSON lines, or a stream of YAML documents.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

TABLE, JSON, YAML = FORMS = ("table", "json", "yaml")
_META = "orders.form"
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{2,}(?: [A-Za-z0-9_./-]+)*")
"""Texts that YAML of every version reads as texts, except for its words such as ``null``, which PyYAML quotes. All
others are quoted: ``1e5`` and ``0o17`` are numbers to YAML 1.2 and texts to PyYAML."""

_form = [TABLE]
_many = [False]


def use(form: str) -> None:
    """Print in this form from now on."""
    _form[0] = form
    _many[0] = False


def print_many() -> None:
    """Print each document, errors too, as one of several from now on."""
    _many[0] = True


def wants_document() -> bool:
    """Whether a program reads the output."""
    return _form[0] != TABLE


def asked_form(arguments: Sequence[str]) -> str:
    """The form that a command line asks for, as far as that can be told before it is parsed: for errors in it."""
    for text, following in zip(arguments, [*arguments[1:], ""], strict=False):
        if text == "--":
            break
        if text == "--json":
            return JSON
        given = following if text in ("-o", "--output") else text.removeprefix("--output=")
        given = text[2:] if text[:2] == "-o" and len(text) > len("-o") else given
        if given != text and given in FORMS:
            return given
    return TABLE


def _choose(ctx: typer.Context, form: str) -> None:
    before = ctx.meta.setdefault(_META, form)
    if before != form:
        message = f"-o {before} and -o {form} contradict each other (--json means -o json)"
        raise typer.BadParameter(message, param_hint="-o")


def _json_given(ctx: typer.Context, value: bool) -> bool:
    """Whether a document is wanted, by whatever option. Options that are given are processed before those that are
    not."""
    if value:
        _choose(ctx, JSON)
    use(ctx.meta.get(_META, TABLE))
    return wants_document()


def _output_given(ctx: typer.Context, value: str | None) -> str | None:
    if value is not None and not ctx.resilient_parsing:
        if value not in FORMS:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(FORMS)}", param_hint="-o")
        _choose(ctx, value)
    return value


JSON_HELP = "Print one JSON document, for errors too: -o json."


def json_option(text: str = JSON_HELP) -> Any:
    """The option ``--json`` of a command, whose parameter is true for every form that is a document."""
    return typer.Option("--json", help=text, callback=_json_given)


JsonOption = Annotated[bool, json_option()]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FORM",
        help="table, json or yaml; may also precede the command's name.",
        callback=_output_given,
        autocompletion=lambda incomplete: [form for form in FORMS if form.startswith(incomplete)],
        expose_value=False,
    ),
]


def emit(document: Mapping[str, Any]) -> None:
    """Write the document; JSON is indented at a terminal."""
    if _many[0]:
        emit_line(document)
    elif _form[0] == YAML:
        sys.stdout.write(_yaml(document))
    else:
        print(json.dumps(document, indent=2 if sys.stdout.isatty() else None))


def emit_line(document: Mapping[str, Any]) -> None:
    """Write one of several documents: a line of JSON, or a YAML document of a stream."""
    if _form[0] == YAML:
        sys.stdout.write("---\n" + _yaml(document))
    else:
        print(json.dumps(document))
    sys.stdout.flush()


class _Number(str):
    """A number as JSON writes it, which no reading as a binary float may change."""

    __slots__ = ()


def _yaml(document: Mapping[str, Any]) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes texts so that no reader takes them for anything else."""

    def text(dumper: Any, value: str) -> Any:
        style = None if _PLAIN.fullmatch(value) else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    def number(dumper: Any, value: _Number) -> Any:
        # Exponents need a point and a sign to be numbers in YAML 1.1.
        digits = re.sub(r"^([+-]?\d+)e", r"\1.0e", str(value).replace("E", "e"))
        return dumper.represent_scalar("tag:yaml.org,2002:float", re.sub(r"e(\d)", r"e+\1", digits))

    Dumper.add_representer(str, text)
    Dumper.add_representer(_Number, number)
    # Through JSON, so that both forms have the same values.
    same = json.loads(json.dumps(document), parse_float=_Number)
    return str(yaml.dump(same, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=float("inf")))
