"""`orders completion SHELL`, and the values that are completed: accounts, commands, profiles and ids.

The scripts speak the protocol of Typer's completion for bash, which answers with one value a line and imports nothing
for it. Whatever fails while a person presses a key fails silently.
"""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum
from typing import Annotated

import typer

from producers import setting_sources

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,254}")
"""Values that no shell takes for anything else. Others, which a stranger may have made, are not completed."""
_COMMANDS = ("close", "submit", "cancel", "withdraw", "positions")
SECONDS = 1.0
"""How long a person waits for ids from the ledger at most, at each step with it."""


class Shell(StrEnum):
    """The shells that have a completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


_SCRIPTS = {
    Shell.BASH: """\
_orders_completion() {
    local IFS=$'\\n'
    COMPREPLY=($(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _ORDERS_COMPLETE=complete_bash "$1" 2>/dev/null))
}
complete -o default -F _orders_completion orders
""",
    Shell.ZSH: """\
#compdef orders
_orders_completion() {
    local -a found
    local answer at=$((CURRENT - 1))
    answer=$(COMP_WORDS="${words[*]}" COMP_CWORD=$at _ORDERS_COMPLETE=complete_bash orders 2>/dev/null)
    found=("${(@f)answer}")
    if [[ -n "${found[1]}" ]]; then compadd -- "${found[@]}"; else _files; fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _orders_completion orders
""",
    Shell.FISH: """\
function __orders_completion
    set -l words (commandline -opc) (commandline -ct)
    set -l last (math (count $words) - 1)
    COMP_WORDS="$words" COMP_CWORD=$last _ORDERS_COMPLETE=complete_bash orders 2>/dev/null
end
complete -c orders -a "(__orders_completion)"
""",
}


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the completion of a shell: of commands, options, accounts, profiles and the ids of recent commands.

    In ~/.bashrc or ~/.zshrc: `source <(orders completion bash)`, or zsh; fish: `orders completion fish | source`.
    """
    print(_SCRIPTS[shell], end="")


def _beginning(values: Iterable[str], incomplete: str) -> list[str]:
    return sorted({each for each in values if each.startswith(incomplete) and _SAFE.fullmatch(each)})


def accounts(incomplete: str) -> list[str]:
    """Aliases of the accounts in the settings here."""
    with suppress(setting_sources.SettingsError):
        names = setting_sources.external_settings(os.environ)
        parts = [name.split("__") for name in names if name.startswith("ORDERS_ACCOUNTS__")]
        return _beginning((each[1].lower() for each in parts if len(each) > 2), incomplete)
    return []


def profiles(incomplete: str) -> list[str]:
    """Names of the profiles in the settings' file."""
    with suppress(setting_sources.SettingsError):
        return _beginning(setting_sources.profile_names(os.environ), incomplete)
    return []


def commands(incomplete: str) -> list[str]:
    """Names of the commands to a venue."""
    return _beginning(_COMMANDS, incomplete)


def command_ids(incomplete: str) -> list[str]:
    """Ids of the commands that began or ended last, where the worker is installed and the ledger answers."""
    from producers.cli.plugins import load

    with suppress(Exception):
        recent = load("orders.ledger", "recent", "worker.cli.ledger_record:recent_ids")
        return _beginning(recent(incomplete, SECONDS), incomplete)
    return []
