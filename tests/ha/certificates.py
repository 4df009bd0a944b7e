"""A private CA for one test, and what it signs."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Signed:
    """A certificate and its key."""

    certificate: Path
    key: Path


class PrivateCa:
    """Signs certificates for a day."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name = folder, name
        self.certificate, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        subject = ("-subj", f"/CN={name}", "-days", "1", "-addext", "basicConstraints=critical,CA:true")
        openssl("req", "-x509", *CURVE, "-keyout", self._key, "-out", self.certificate, *subject)

    def sign(self, name: str, alternative: str) -> Signed:
        """A certificate for ``alternative``, ``IP:127.0.0.1`` or ``DNS:…``."""
        request, key = self._folder / f"{name}.csr", self._folder / f"{name}.key"
        certificate, extension = self._folder / f"{name}.pem", self._folder / f"{name}.ext"
        openssl("req", *CURVE, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        extension.write_text(f"subjectAltName={alternative}\n", encoding="utf-8")
        signing = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-days", "1", "-extfile", extension)
        openssl("x509", "-req", "-in", request, *signing, "-out", certificate)
        return Signed(certificate, key)


def openssl(*words: object) -> None:
    """Run it, quietly."""
    program = shutil.which("openssl")
    assert program, "openssl makes the certificates, and is not installed"
    subprocess.run([program, *map(str, words)], check=True, capture_output=True)
