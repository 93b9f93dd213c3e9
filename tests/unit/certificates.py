"""Chains, verified by two libraries that had no part in making them."""

from __future__ import annotations

import subprocess
import tempfile
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError


def certificates_of(pem: bytes | str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem if isinstance(pem, bytes) else pem.encode())


def is_trusted(chain_pem: bytes, bundle_pem: bytes, now: datetime) -> bool:
    """Whether a peer that has the bundle takes the chain, leaf first, as a client's or server's.

    Raises:
        AssertionError: the two libraries disagree.
    """
    by_openssl = {_openssl(chain_pem, bundle_pem, now, purpose) for purpose in ("client", "server")}
    by_cryptography = _cryptography(chain_pem, bundle_pem, now)
    assert by_openssl == {by_cryptography}
    return by_cryptography


def uris_of(chain_pem: bytes) -> list[str]:
    """The names in a leaf, all of which are URIs."""
    extension = certificates_of(chain_pem)[0].extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert extension.critical
    assert all(isinstance(one, x509.UniformResourceIdentifier) for one in extension.value)
    return [str(one.value) for one in extension.value]


def _cryptography(chain_pem: bytes, bundle_pem: bytes, now: datetime) -> bool:
    leaf, *above = certificates_of(chain_pem)
    policy = PolicyBuilder().store(Store(certificates_of(bundle_pem))).time(now)
    try:
        policy.build_client_verifier().verify(leaf, above)
    except VerificationError:
        return False
    return True


def _openssl(chain_pem: bytes, bundle_pem: bytes, now: datetime, purpose: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        chain, bundle = Path(folder) / "chain.pem", Path(folder) / "bundle.pem"
        chain.write_bytes(chain_pem)
        bundle.write_bytes(bundle_pem)
        done = subprocess.run(
            [
                *("openssl", "verify", "-x509_strict", "-purpose", f"ssl{purpose}"),
                *("-attime", str(int(now.timestamp()))),
                *("-CAfile", str(bundle), "-untrusted", str(chain), str(chain)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    return done.returncode == 0
