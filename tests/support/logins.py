"""Servers that want a login of each kind, and what clients need for it; made anew for each test."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from contextlib import contextmanager

import nkeys

from naq.base.local import free_port
from naq.services.server import find_binary


@contextmanager
def served(home, configuration, *, domain=None):
    """Run a nats-server with JetStream, of a domain, and this configuration; yield its port."""
    port = free_port()
    file = home / "login.conf"
    file.write_text(
        f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{home}/js"'
        f"{f', domain: {domain}' if domain else ''} }}\n{configuration}"
    )
    with (home / "login.log").open("wb") as log:
        process = subprocess.Popen([find_binary(), "-c", file], stdout=log, stderr=log)
    try:
        while b"Server is ready" not in (home / "login.log").read_bytes():
            assert process.poll() is None, (home / "login.log").read_text()
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(10)


# --------------------------------------------------------------------- nkeys


def key(prefix):
    """Return a new pair of keys and its seed; ``prefix`` is one of nkeys' ``PREFIX_BYTE_…``."""
    seed = bytes(nkeys.encode_seed(os.urandom(32), prefix))
    pair = nkeys.from_seed(bytearray(seed))
    return pair, pair.public_key.decode(), seed.decode()


def token(pair, issuer, subject, name, claims):
    """Return a signed JWT as nats-server takes it (https://docs.nats.io/…/jwt)."""
    head = {"typ": "JWT", "alg": "ed25519-nkey"}
    body = {
        "jti": os.urandom(16).hex(),
        "iat": int(time.time()),
        "iss": issuer,
        "sub": subject,
        "name": name,
        "nats": {"version": 2, **claims},
    }
    text = ".".join(_encoded(json.dumps(part).encode()) for part in (head, body))
    return f"{text}.{_encoded(pair.sign(text.encode()))}"


def _encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def operator(home):
    """Return the configuration of a server with an operator, and a file of credentials."""
    owner, owner_id, _ = key(nkeys.PREFIX_BYTE_OPERATOR)
    account, account_id, _ = key(nkeys.PREFIX_BYTE_ACCOUNT)
    _, user_id, seed = key(nkeys.PREFIX_BYTE_USER)
    _, system_id, _ = key(nkeys.PREFIX_BYTE_ACCOUNT)
    names = "subs data payload imports exports conn leaf mem_storage disk_storage streams consumer"
    limits = dict.fromkeys(names.split(), -1)
    plain = dict.fromkeys(names.split()[:7], -1)
    owned = token(owner, owner_id, owner_id, "operator", {"type": "operator"})
    system = {"type": "account", "limits": {**plain, "wildcards": True}}
    account_claims = {"type": "account", "limits": {**limits, "wildcards": True}}
    granted = token(owner, owner_id, account_id, "account", account_claims)
    of_system = token(owner, owner_id, system_id, "SYS", system)
    may = {"subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
    allowed = token(account, account_id, user_id, "user", {"type": "user", **may})
    creds = home / "user.creds"
    creds.write_text(
        f"-----BEGIN NATS USER JWT-----\n{allowed}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
    config = (
        f"operator: {owned}\nsystem_account: {system_id}\nresolver: MEMORY\n"
        f"resolver_preload: {{ {account_id}: {granted}\n {system_id}: {of_system} }}\n"
    )
    return config, creds


# ----------------------------------------------------------------------- TLS


def certificates(home):
    """Make an authority, and a certificate for server and client each, by ``openssl``."""

    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, cwd=home, capture_output=True)

    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(*new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    for name in ("server", "client"):
        openssl(
            *(*new, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}"),
            *("-days", "2", "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", names),
        )


def tls(home, *more):
    """Return a ``tls`` block with the server's certificate."""
    lines = [f'cert_file: "{home}/server.pem"', f'key_file: "{home}/server.key"', *more]
    return "tls {\n" + "\n".join(lines) + "\n}\n"
