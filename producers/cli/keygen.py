"""`orders keygen`: makes a key to sign with, and prints where its public half belongs."""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from producers.cli.output import emit, exit_if_stdout_fails, failure, note
from producers.cli.plugins import JsonOption
from producers.cli.private_file import write_private
from producers.signing import CryptographyMissing, PrivateKey, SigningError

WHERE = "orders keygen"


class Purpose(StrEnum):
    """Who signs with the key."""

    PRODUCER = "producer"
    WORKER = "worker"
    OPERATOR = "operator"
    APPROVER = "approver"
    ARCHIVE = "archive"


_PLACES = {
    Purpose.PRODUCER: (
        "ORDERS_SEAL_KEY_FILE",
        "the file of the workers' ORDERS_AUTH__KEYS_FILE; list in `may` what {by} may send",
        '[producers.{by}]\nmay = []\n\n[producers.{by}.keys]\n{kid} = "{public}"',
    ),
    Purpose.WORKER: (
        "ORDERS_REPORT_KEY_FILE",
        "the settings of the services that read reports; several keys are separated by commas",
        "ORDERS_REPORT_KEYS={by}/{kid}={public}",
    ),
    Purpose.OPERATOR: (
        "ORDERS_OPERATOR_KEY_FILE",
        "the file of ORDERS_AUTH__KEYS_FILE, of workers and operators",
        '[operators]\n{by} = "{public}"',
    ),
    Purpose.APPROVER: (
        "ORDERS_OPERATOR_KEY_FILE",
        "the policy, which the workers' ORDERS_POLICY_FILE names",
        '[approvers]\n{by} = "{public}"',
    ),
    Purpose.ARCHIVE: (
        "--sign-with",
        "the place where the checkpoints are, for `orders journal --verify --checkpoint-key`",
        "{public}",
    ),
}
"""By purpose: what names the private key's file, where the public key belongs, and as what text."""


PurposeOption = Annotated[
    Purpose,
    typer.Option(
        "--for",
        help="What is signed: a service's commands, a worker's reports, the words or the approvals of a person, or the "
        "checkpoints of `orders archive`.",
    ),
]


def keygen(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Who signs with it: a service, `worker`, or a person; lower case.")
    ],
    purpose: PurposeOption = Purpose.PRODUCER,
    kid: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Which of its keys it is, for the time when two are in use; default: YYYY-MM."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the private key goes; default: NAME-ID.key. Never overwritten."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key to sign with. The private key goes into a file that only you can read, and is never printed.

    Standard output has the public key, as the text to paste.

    Example: `orders keygen payroll --for producer --out /etc/payroll/seal.key`
    """
    kid = kid or f"{datetime.now(UTC):%Y-%m}"
    try:
        key = PrivateKey.generate(name, kid)
    except SigningError as error:
        error_type = "NotInstalled" if isinstance(error, CryptographyMissing) else "Usage"
        raise failure(str(error), error_type, where=WHERE, as_json=as_json) from None
    path = out or Path(f"{name}-{kid}.key")
    try:
        if str(path) == "-":
            raise OSError(0, "the private key is not printed; name a file")
        write_private(path, key.to_file_text())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = f"{path} can't be written: {reason}. No key was made; a file is never overwritten"
        raise failure(message, "KeyNotWritten", where=WHERE, as_json=as_json) from None
    with exit_if_stdout_fails(WHERE, f"The private key is in {path}: delete it, and make the key again"):
        _show(key, purpose, path, as_json=as_json)


def _show(key: PrivateKey, purpose: Purpose, path: Path, *, as_json: bool) -> None:
    setting, place, text = _PLACES[purpose]
    public = key.public().to_text()
    text = text.format(by=key.by, kid=key.kid, public=public)
    if as_json:
        document = {"by": key.by, "kid": key.kid, "for": purpose.value, "public_key": public}
        emit({**document, "private_key_file": str(path.absolute()), "setting": setting, "paste": text})
    else:
        where = f"give it to `orders archive {setting}`" if purpose is Purpose.ARCHIVE else f"set {setting} to its path"
        note(f"The private key is in {path}. Where {key.by} runs, {where}, and let nobody else read it.")
        note(f"The public key belongs in {place.format(by=key.by)}:")
        print(text)
