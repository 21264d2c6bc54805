"""Certificates for tests: an authority that nobody trusts unless told to, and what it issues."""

import subprocess
from pathlib import Path

from tests.support import program

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


class Authority:
    """An authority made anew in ``folder``; ``certificate`` is the file of those who trust it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        self._make("/CN=an authority for tests", self.certificate, self._key)

    def issue(self, name: str) -> tuple[Path, Path]:
        """The certificate and the key of a server, in files; ``name`` may be an address."""
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        signed = ("-CA", str(self.certificate), "-CAkey", str(self._key))
        kind = "IP" if name[0].isdecimal() else "DNS"
        alone = ("-addext", f"subjectAltName={kind}:{name}", "-addext", "basicConstraints=CA:FALSE")
        self._make(f"/CN={name}", certificate, key, *signed, *alone)
        return certificate, key

    def _make(self, subject: str, certificate: Path, key: Path, *more: str) -> None:
        subprocess.run(
            [program("openssl"), "req", "-x509", *_KEY, "-subj", subject,
             "-out", str(certificate), "-keyout", str(key), *more],
            capture_output=True, check=True, timeout=60,
        )  # fmt: skip
