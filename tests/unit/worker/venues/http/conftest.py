"""TLS for the servers of these tests."""

import ssl
from pathlib import Path

import pytest

from tests.support.certificates import self_signed


@pytest.fixture
def server_tls(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """The server's TLS context, and the certificate file that a client must trust."""
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, str(certificate)
