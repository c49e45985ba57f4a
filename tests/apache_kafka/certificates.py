"""An authority and what it signs, for a day: PEM files as brokers and clients read them."""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

LIFETIME = dt.timedelta(days=1)
LOOPBACK = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])


@dataclass(frozen=True, slots=True)
class Signed:
    """``certfile`` and ``keyfile`` are a pair; ``both`` holds the two of them."""

    certfile: Path
    keyfile: Path
    both: Path


class Authority:
    """Files are written below ``folder``."""

    def __init__(self, folder: Path, name: str = "vodray test authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        whole = x509.BasicConstraints(ca=True, path_length=None)
        own = self._builder(self._name, self._key.public_key()).add_extension(whole, critical=True)
        self.cafile = folder / "ca.pem"
        self.cafile.write_bytes(_pem(own.sign(self._key, hashes.SHA256())))

    def sign(self, name: str, key_password: bytes | None = None) -> Signed:
        """A certificate for ``name`` on loopback; ``key_password`` locks its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_name(name), key.public_key())
        certificate = _pem(
            builder.add_extension(LOOPBACK, critical=False).sign(self._key, hashes.SHA256())
        )
        lock = (
            serialization.BestAvailableEncryption(key_password)
            if key_password
            else serialization.NoEncryption()
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock
        )
        signed = Signed(*(self._folder / f"{name}.{end}" for end in ("crt", "key", "pem")))
        signed.certfile.write_bytes(certificate)
        signed.keyfile.write_bytes(private)
        signed.both.write_bytes(private + certificate)
        return signed

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + LIFETIME)
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
