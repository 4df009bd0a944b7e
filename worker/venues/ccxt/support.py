"""Which commands and arguments an exchange supports, by its traits alone."""

from producers.commands import Cancel, Close, Command, Positions, Submit, Withdraw
from worker.venues.ccxt.traits import Traits


def unsupported(venue: str, traits: Traits | None, command: Command) -> str | None:
    """Why a venue does not support this command, as a sentence; None when it does."""
    if isinstance(command, Positions):
        return "contract_id is an argument for Bit-Z; other venues take pair" if command.contract_id else None
    if traits is None:
        return f"{venue} takes no {command.name}: nobody has read yet what its answers prove"
    if command.name not in traits.mutating:
        return f"{venue} takes no {command.name}: {traits.refused.get(command.name, 'it is not listed in its traits')}"
    why = None
    if isinstance(command, Cancel):
        missing = traits.cancel_needs_pair and command.pair is None
        why = "pair is missing: this exchange finds no order without its market" if missing else None
    elif isinstance(command, Withdraw):
        why = "network is missing: the exchange would choose one" if command.network is None else None
    elif isinstance(command, Close):
        why = _close(traits, command)
    elif isinstance(command, Submit):
        why = _submit(traits, command)
    return f"{venue}: {why}" if why else None


def _close(traits: Traits, command: Close) -> str | None:
    if command.trigger_price is None and command.trigger_event is not None:
        return "trigger_event needs a trigger_price"
    if command.close_on_trigger and traits.close_on_trigger is None:
        return "the exchange has nothing like close_on_trigger"
    if command.close_on_trigger and command.trigger_price is None:
        return "close_on_trigger needs a trigger_price"
    window = "stop" if command.trigger_price is not None else command.name
    if command.recv_window is not None and not traits.windows.get(window):
        return "the exchange does not take a recv_window for this order"
    return None


def _submit(traits: Traits, command: Submit) -> str | None:
    # Which arguments belong together, the command has checked itself.
    if command.post_only and traits.post_only is None:
        return "the exchange takes no post_only through ccxt"
    force = command.time_in_force
    if force is not None and force not in traits.time_in_force:
        return f"the exchange takes no time_in_force {force} through ccxt"
    if command.trigger_price is not None and not traits.stop_options and (command.post_only or force in ("IOC", "FOK")):
        return f"the exchange takes no {'post_only' if command.post_only else force} with a trigger_price through ccxt"
    return None
