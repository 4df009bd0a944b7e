"""A server that listens for TLS beside, for measuring what that costs."""

import shutil
import tempfile
from pathlib import Path

from tests.support.certificates import CertificateAuthority
from tests.support.servers import Server, free_port


class TlsServer(Server):
    """Debian's server, listening for TLS beside."""

    def __init__(self, *options: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="orders-tls-"))
        ca = CertificateAuthority(self._folder, "ca")
        own = ca.issue("server", "IP:127.0.0.1")
        self.tls_port, self._ca = free_port(), ca.certificate
        tls = {"port": self.tls_port, "cert-file": own.certificate, "key-file": own.key, "ca-cert-file": ca.certificate}
        words = [word for name, value in tls.items() for word in (f"--tls-{name}", str(value))]
        super().__init__(*options, *words, "--tls-auth-clients", "no")

    def url(self, database: int | None = None) -> str:
        """With TLS."""
        path = "" if database is None else f"/{database}"
        return f"rediss://127.0.0.1:{self.tls_port}{path}?ssl_ca_certs={self._ca}"

    def remove(self) -> None:
        """And its certificates."""
        super().remove()
        shutil.rmtree(self._folder, ignore_errors=True)
