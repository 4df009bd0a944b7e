"""`orders init`, found through the entry points ``orders.commands``. What it needs is imported when it runs."""

import getpass
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.exit_codes import ExitCode
from producers.cli.output import emit, failure, note
from producers.cli.plugins import JsonOption, command_app
from producers.printable import printable

if TYPE_CHECKING:
    from worker.operations.doctor.findings import Finding
    from worker.operations.new_account import NewAccount

WHERE = "orders init"
MAX_CREDENTIAL_BYTES = 64 * 1024
"""Of a file with a credential. A longer one is something else."""
SIMULATOR_URL = "http://127.0.0.1:9100"
"""Where `orders simulator` listens by default."""

init = command_app()


@init.command()
def _init(
    venue: Annotated[
        str | None, typer.Argument(metavar="VENUE", help="everstrike, bitz, or ccxt:EXCHANGE such as ccxt:okx.")
    ] = None,
    account: Annotated[
        str, typer.Option("--account", "-a", metavar="ALIAS", help="The name that commands will use.")
    ] = "main",
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write; never overwritten.")] = Path(
        "orders.toml"
    ),
    api_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with the API key. Without it, the key is asked for.")
    ] = None,
    secret_key_file: Annotated[Path | None, typer.Option(metavar="FILE", help="A file with the secret key.")] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with the key's passphrase, where the venue has one.")
    ] = None,
    account_mode: Annotated[
        str | None, typer.Option(metavar="MODE", help="The kind of account, where the venue knows several.")
    ] = None,
    testnet: Annotated[bool, typer.Option("--testnet", help="The key is one of the venue's test network.")] = False,
    simulator: Annotated[
        bool, typer.Option("--simulator", help="Use the simulator on this machine and its demo key: no real money.")
    ] = False,
    simulator_url: Annotated[
        str, typer.Option(metavar="URL", help="Where the simulator listens, if not at its usual port.")
    ] = SIMULATOR_URL,
    redis_url: Annotated[str, typer.Option(metavar="URL", help="The server of queues, reports and ledger.")] = (
        "redis://127.0.0.1:6379"
    ),
    check: Annotated[bool, typer.Option("--check/--no-check", help="Check the settings after writing them.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Write the settings of an account to a new file, with a comment for each, and check them.

    Asks for the key and its secret without showing them; press Enter to leave one to be filled in. Then it checks
    whether the settings can be read, whether servers and venue answer, and, with one read of positions, whether the
    venue takes the key. It prints the commands that come next. Without a terminal it asks nothing.

    Example: `orders init ccxt:okx --account-mode futures`, or `orders init --simulator` for a first try.
    """
    if out.exists() or out.is_symlink():
        message = f"{out} is there already, and is not overwritten; name another file with --out"
        raise failure(message, "FileNotWritten", where=WHERE, as_json=as_json)
    files = {"api_key": api_key_file, "secret_key": secret_key_file, "passphrase": passphrase_file}
    chosen = _venue(venue, simulator=simulator, as_json=as_json)
    at = simulator_url if simulator else ""
    new = _account(account, chosen, account_mode, files, redis_url, testnet, at, as_json=as_json)
    _write(out, new, as_json=as_json)
    findings: list[Finding] = []
    if check and not new.to_fill_in:
        findings = _checked(out)
    _report(out, new, findings, as_json=as_json)
    raise typer.Exit(ExitCode.FAILED if any(each.level == "fault" for each in findings) else ExitCode.ACCEPTED)


def _at_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _venue(given: str | None, *, simulator: bool, as_json: bool) -> str:
    """The venue's name, asked for at a terminal."""
    from worker.operations.new_account import SIMULATED, VENUES
    from worker.venues.registry import problem_of_name

    known = list(SIMULATED) if simulator else VENUES
    venue = given or (known[0] if simulator else None)
    if venue is None and _at_terminal():
        note(f"The venues are {', '.join(known)}, and ccxt:EXCHANGE for the other exchanges of ccxt (positions alone).")
        venue = _asked("Venue: ")
    if not venue:
        raise failure(f"name a venue: {', '.join(known)}", "Usage", where=WHERE, as_json=as_json)
    problem = problem_of_name(venue)
    if problem is None and simulator and venue not in known:
        problem = f"is not simulated; there are {', '.join(known)}"
    if problem is not None:
        raise failure(f"the venue {printable(venue, 64)} {problem}", "Usage", where=WHERE, as_json=as_json)
    return venue


def _account(
    alias: str,
    venue: str,
    mode: str | None,
    files: Mapping[str, Path | None],
    redis_url: str,
    testnet: bool,
    simulator_url: str,
    *,
    as_json: bool,
) -> "NewAccount":
    """What the file will say, with every value that was given or asked for."""
    from producers.arguments import ALIAS
    from worker.operations.new_account import SIMULATED, NewAccount, credentials_of
    from worker.venues.registry import REGISTRY

    needs = REGISTRY[venue].needs
    problem = _problem_with_url(redis_url)
    if testnet and not needs.testnet:
        problem = f"no test network of {venue} is known"
    if not re.fullmatch(ALIAS, alias):
        problem = "--account must be 1 to 64 letters, digits, - and _"
    for name, path in files.items():
        if path is not None and (simulator_url or name not in credentials_of(venue)):
            why = "--simulator has a key of its own" if simulator_url else f"{venue} has nothing like it"
            problem = f"--{name.replace('_', '-')}-file: {why}"
    if problem:
        raise failure(problem, "Usage", where=WHERE, as_json=as_json)
    if simulator_url:
        demo = SIMULATED[venue]
        keys = {"api_key": demo.api_key, "secret_key": demo.secret, "passphrase": demo.passphrase}
        return NewAccount(alias, venue, keys, mode or demo.mode, base_url=simulator_url, redis_url=redis_url)
    chosen = _mode(venue, needs.modes, mode, as_json=as_json)
    keys = {name: _credential(name, files.get(name), as_json=as_json) for name in credentials_of(venue)}
    return NewAccount(alias, venue, keys, chosen, testnet, redis_url=redis_url)


def _problem_with_url(redis_url: str) -> str:
    """Why no settings can have this URL, without the URL; empty if they can."""
    from pydantic import ValidationError

    from producers.settings import QueueSettings

    try:
        QueueSettings(redis_url=redis_url)
    except ValidationError as error:
        found = (each["msg"].removeprefix("Value error, ") for each in error.errors() if "redis_url" in each["loc"])
        return next((f"--redis-url {problem}" for problem in found), "")
    return ""


def _mode(venue: str, modes: tuple[str, ...], given: str | None, *, as_json: bool) -> str:
    """The account's mode, asked for at a terminal; empty where the venue knows none."""
    if not modes and not given:
        return ""
    if given is None and _at_terminal():
        given = _asked(f"Kind of account ({' or '.join(modes)}): ")
    if given in modes:
        return given
    problem = f"{venue} needs --account-mode {' or '.join(modes)}" if modes else f"{venue} has no --account-mode"
    raise failure(problem, "Usage", where=WHERE, as_json=as_json)


def _credential(name: str, path: Path | None, *, as_json: bool) -> str:
    """A credential from its file, or as it was typed without being shown; empty to leave it to be filled in."""
    option = f"--{name.replace('_', '-')}-file"
    if path is not None:
        try:
            with path.open("rb") as file:
                text = file.read(MAX_CREDENTIAL_BYTES + 1).decode().strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not text"
            raise failure(f"{option}: {path} can't be read: {reason}", "Usage", where=WHERE, as_json=as_json) from None
    elif _at_terminal():
        try:
            text = getpass.getpass(f"{name.replace('_', ' ')} (not shown; Enter to fill it in later): ").strip()
        except EOFError:
            text = ""
        option = name.replace("_", " ")
    else:
        return ""
    if len(text) > MAX_CREDENTIAL_BYTES or not text.isascii() or not text.isprintable() or " " in text:
        message = f"{option}: must be printable ASCII without blanks; nothing was written"
        raise failure(message, "Usage", where=WHERE, as_json=as_json)
    return text


def _asked(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline(1024).strip()


def _write(out: Path, new: "NewAccount", *, as_json: bool) -> None:
    from producers.cli.private_file import write_private
    from worker.operations.new_account import config_text

    try:
        write_private(out, config_text(new))
    except OSError as error:
        message = f"{out} can't be written: {error.strerror or type(error).__name__}"
        raise failure(message, "FileNotWritten", where=WHERE, as_json=as_json) from None


def _checked(out: Path) -> "list[Finding]":
    """Check the settings as the next commands will have them: with this file, and what else the environment says."""
    from worker.operations.doctor.diagnose import first_findings

    os.environ["ORDERS_CONFIG_FILE"] = str(out)
    return first_findings()


def _report(out: Path, new: "NewAccount", findings: "list[Finding]", *, as_json: bool) -> None:
    """Say what was written, what was found, and what comes next."""
    from worker.cli.doctor_output import as_document, print_findings

    steps = _next_steps(out, new, findings)
    if as_json:
        written = {"file": str(out.absolute()), "account": new.alias, "venue": new.venue, "to_fill_in": new.to_fill_in}
        emit({**written, **as_document(findings), "next": [command for command, _ in steps]})
        return
    print(f"Wrote {printable(str(out))} (mode 0600): the account {new.alias} at {new.venue}.")
    if new.to_fill_in:
        print(f"Fill in {' and '.join(new.to_fill_in)} there: nothing was checked yet.")
    if findings:
        print()
        print_findings(findings)
    before = sorted(name for name in os.environ if name.upper().startswith(("ORDERS_REDIS_URL", "ORDERS_ACCOUNTS__")))
    if before:
        print(f"\nThe environment goes before the file, and sets {', '.join(map(printable, before))}.")
    print("\nNext:")
    width = max(len(command) for command, _ in steps)
    for command, words in steps:
        print(f"  {command:<{width}}  # {words}")


def _next_steps(out: Path, new: "NewAccount", findings: "list[Finding]") -> list[tuple[str, str]]:
    """The commands that come next, with what each is for."""
    steps = [(f"export ORDERS_CONFIG_FILE={shlex.quote(str(out.absolute()))}", "in each terminal")]
    if new.to_fill_in:
        steps.append(("orders doctor --venues", "checks the file, the servers and the key"))
    down = {each.group for each in findings if each.level == "fault"}
    if new.base_url and {"servers", "venues"} & down:
        server = " --with-server" if "servers" in down else ""
        steps.append((f"orders simulator{server}", "in a terminal of its own, until Ctrl-C"))
    steps.append(("orders worker", "in a terminal of its own, until Ctrl-C"))
    steps.append((f"orders positions --account {new.alias} --wait", "a first command, which changes nothing"))
    return steps
