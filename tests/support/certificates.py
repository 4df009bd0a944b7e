"""Certificates that openssl makes for one test run; they are valid for a day."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


class CertificateAuthority:
    """A private CA."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        # Python 3.13 verifies strictly by RFC 5280: a CA says what its key is for.
        usage = "keyUsage=critical,keyCertSign,cRLSign"
        self._own = _certificate(folder, name, "basicConstraints=critical,CA:true", usage)
        self.certificate = self._own.certificate

    def issue(self, name: str, alternative: str = "IP:127.0.0.1") -> Certificate:
        """A certificate for ``alternative``, ``IP:…`` or ``DNS:…``, signed by this CA."""
        signer = ("-CA", self._own.certificate, "-CAkey", self._own.key)
        return _certificate(
            self._folder, name, f"subjectAltName={alternative}", "basicConstraints=CA:false", signer=signer
        )


def self_signed(folder: Path) -> Certificate:
    """A self-signed certificate for 127.0.0.1."""
    return _certificate(folder, "self-signed", "subjectAltName=IP:127.0.0.1")


def _certificate(folder: Path, name: str, *extensions: str, signer: tuple[object, ...] = ()) -> Certificate:
    openssl = shutil.which("openssl")
    assert openssl, "openssl makes the certificates of these tests, and is not installed"
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
    words = (
        "req",
        "-x509",
        *curve,
        "-days",
        "1",
        "-subj",
        f"/CN={name}",
        "-out",
        made.certificate,
        "-keyout",
        made.key,
    )
    added = [word for extension in extensions for word in ("-addext", extension)]
    subprocess.run([openssl, *words, *added, *signer], check=True, capture_output=True)
    return made
