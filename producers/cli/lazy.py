"""The program's commands, known by name and one line of help, and imported one by one when they are used."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from producers.cli.forms import JsonOption, OutputOption, asked_form, use, wants_document
from producers.cli.options import ProfileOption
from producers.cli.output import failure
from producers.cli.plugins import (
    COMMANDS,
    GROUP,
    OPERATING,
    OWN_COMMANDS,
    PROGRAM,
    RUNNING,
    SENDING,
    command_app,
    how_to_install,
    load,
)


class QuickConversion:
    """Takes the place of Typer's conversion of a parameter, which imports pydantic: texts and defaults need none.

    Typer's own is made for every other value that is given.
    """

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The parameter's value."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if value is param.default or param.type_descriptor.annotation in (str, list[str]):
            return value
        param._runtime_param = None  # noqa: SLF001 - as below
        try:
            return param.get_runtime_param().coerce(value, param=param, ctx=ctx)
        except typer.BadParameter as wrong:
            wrong.message = wrong.message.removeprefix("Value error, ")  # pydantic's, which says nothing to a person
            raise


def convert_quickly(command: Any) -> None:
    """Let the command's parameters import pydantic only when they need it. A Typer without the attribute is but
    slower."""
    context = typer.Context(command, **command.context_settings)
    for each in (*command.params, command.get_help_option(context)):
        if each is not None:
            each._runtime_param = QuickConversion()  # noqa: SLF001 - Typer has no other way


class LazyCommand(TyperCommand):
    """A command that is imported when it is parsed: to run, for its help, or to complete its options."""

    def __init__(self, name: str, summary: str, section: str) -> None:
        super().__init__(name, help=summary, rich_help_panel=section, rich_markup_mode=None)

    def load(self) -> Any:
        """Import the command itself.

        Raises:
            ModuleNotFoundError: a part that it needs is not installed.
        """
        name = str(self.name)
        if name in OWN_COMMANDS:
            module, _, function = OWN_COMMANDS[name][-1].partition(":")
            app = command_app()
            app.command()(getattr(import_module(f"producers.cli.{module}"), function))
        else:
            module = COMMANDS[name][-1]
            app = load(GROUP, name, f"worker.cli.{module}:{name.replace('-', '_')}")
        return _with_common_options(typer.main.get_command(app))

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the arguments with the command itself."""
        if asked_form(args) != "table":
            use(asked_form(args))
        with told_failures(str(self.name)):
            command = self.load()
        return command.make_context(info_name, args, parent, **extra)


class Program(TyperGroup):
    """The group of all commands, by section."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        convert_quickly(self)
        for name, (summary, section, _) in OWN_COMMANDS.items():
            self.add_command(LazyCommand(name, summary, section))
        for name, (summary, _, section, _) in COMMANDS.items():
            self.add_command(LazyCommand(name, summary, section))

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - Typer's
        """List the commands by section."""
        for section in (SENDING, RUNNING, OPERATING, PROGRAM):
            here = [each for each in self.commands.values() if getattr(each, "rich_help_panel", "") == section]
            with formatter.section(section):
                formatter.write_dl([(str(each.name), each.help or "") for each in here])

    def invoke(self, ctx: Any) -> Any:
        """Run the command, and tell what keeps it from running."""
        name = ctx._protected_args[0] if ctx._protected_args else ""  # noqa: SLF001 - as TyperGroup itself does
        with told_failures(name):
            return super().invoke(ctx)


@contextmanager
def told_failures(name: str) -> Iterator[None]:
    """Exit with a message where a part is not installed, or a person interrupts."""
    where = f"orders {name}".rstrip()
    try:
        yield
    except ModuleNotFoundError as missing:
        extra = COMMANDS[name][1] if name in COMMANDS else ""
        advice = how_to_install(extra) if extra else "Install ./producers with its dependencies"
        message = f"needs {missing.name}, which is not installed. {advice}"
        raise failure(message, "NotInstalled", where=where, as_json=wants_document()) from None
    except KeyboardInterrupt:
        raise failure("interrupted", "Interrupted", where=where, as_json=wants_document()) from None


def _options(as_json: JsonOption = False, output: OutputOption = None, profile: ProfileOption = None) -> None:
    """The options that choose the form of the output, and the settings."""


def _with_common_options(command: Any) -> Any:
    """Add ``-o`` to each command that has ``--json``, both to each group, and ``--profile`` to all, so that they may
    stand anywhere."""
    app = command_app()
    app.command()(_options)
    added: list[Any] = typer.main.get_command(app).params
    as_json, output, profile = added
    profile.hidden = True  # the program's own help has it
    pending = [command]
    while pending:
        each = pending.pop()
        names = [param.name for param in each.params]
        each.params.append(profile)
        # Click hands these on from a group to its commands, but only to a help option that is not made yet.
        each.context_settings.setdefault("help_option_names", ["-h", "--help"])
        if isinstance(each, TyperGroup):
            as_json.expose_value = False
            each.params += [as_json, output]
            pending += each.commands.values()
        elif as_json.name in names:
            each.params.insert(names.index(as_json.name) + 1, output)
        convert_quickly(each)
    return command
