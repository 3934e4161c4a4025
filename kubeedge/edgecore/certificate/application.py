"""Checking, applying for and renewing the certificate; runs in a process of its own (spec 02 §1.4, §1.6, §1.9)."""

from __future__ import annotations

import datetime
import http.client
import os
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

from kubeedge.edgecore.certificate.order import Order, Report
from kubeedge.pki import request, token
from kubeedge.pki.authority import is_issued_by
from kubeedge.pki.pem import CERTIFICATE, KeyPair, PkiError, read_file, to_pem, write_file
from kubeedge.pki.tls import NODE_PREFIX, client_context

# One exchange with the cloud, from the connect to the last byte.
EXCHANGE_TIMEOUT_S = 30
MAX_ANSWER_BYTES = 1 << 20
# A new pair is written under this suffix first, so that a crash between the two renames can be finished.
NEXT = ".next"


class ApplicationError(Exception):
    """The certificate could not be had; is_final when trying again is no use."""

    def __init__(self, reason: str, *, is_final: bool) -> None:
        super().__init__(reason)
        self.is_final = is_final


def carry_out(order: Order, now: float | None = None) -> Report:
    """Do what an order says. now (Unix seconds) is for tests."""
    try:
        return _ensure(order, time.time() if now is None else now) if order.action == "ensure" else _rotate(order)
    except ApplicationError as error:
        return Report("failed", str(error), is_final=error.is_final)
    except PkiError as error:
        return Report("failed", str(error), is_final=True)
    except OSError as error:
        return Report("failed", str(error))


def _ensure(order: Order, now: float) -> Report:
    _finish_renames(order)
    reason, facts = _why_not(order, now)
    if not reason and facts is not None:
        usable = Report("usable", not_before=facts.not_before, not_after=facts.not_after)
        if not _is_for_another_ca(order):
            return usable
        # The cloud may have been set up anew, or the token be a forgotten one: the cloud's answer tells.
        try:
            report = _apply(order)
        except ApplicationError as error:
            usable.warning = f"the join token is for another CA than the stored one and was not used: {error}"
            return usable
        report.warning = "certificate replaced because the cloud has a new CA"
        return report
    if not order.token:
        hint = "give a join token (`keadm gettoken` on the cloud side) to apply for a certificate"
        raise ApplicationError(f"{reason}; {hint}", is_final=True)
    report = _apply(order)
    report.warning = f"certificate replaced because {reason}" if facts is not None else ""
    return report


def _is_for_another_ca(order: Order) -> bool:
    return bool(order.token) and order.token.partition(".")[0] != token.ca_hash(read_file(Path(order.ca_file)))


def _why_not(order: Order, now: float) -> tuple[str, request.Facts | None]:
    """Return why the stored pair cannot be used, empty when it can, and what stands in its certificate."""
    try:
        pair = KeyPair.read(Path(order.certificate_file), Path(order.key_file))
        facts = request.facts(pair.certificate, pair.key)
    except FileNotFoundError as error:
        return f"there is no certificate yet ({error.filename} is missing)", None
    except (OSError, PkiError) as error:
        return f"the stored certificate cannot be used: {error}", None
    if facts.subject.common_name != f"{NODE_PREFIX}{order.node}":
        return f"the stored certificate is for {facts.subject.common_name}, not for node {order.node}", facts
    if facts.not_after <= now:
        ended = datetime.datetime.fromtimestamp(facts.not_after, datetime.UTC)
        return f"the stored certificate ended on {ended:%Y-%m-%d %H:%M} UTC", facts
    try:
        ca = read_file(Path(order.ca_file))
    except FileNotFoundError:
        return f"the cloud's CA certificate is missing ({order.ca_file})", facts
    except (OSError, PkiError) as error:
        return f"the cloud's CA certificate cannot be used: {error}", facts
    if not is_issued_by(pair.certificate, ca):
        return f"the stored certificate was not signed by the CA in {order.ca_file}", facts
    return "", facts


def _apply(order: Order) -> Report:
    ca = _fetch_ca(order)
    try:
        bearer = token.bearer_of(order.token, ca)
    except token.TokenError as error:
        raise ApplicationError(str(error), is_final=True) from None
    ca_pem = to_pem(CERTIFICATE, ca)
    return _sign(order, client_context(ca_pem), {"Authorization": f"Bearer {bearer}"}, ca_pem)


def _rotate(order: Order) -> Report:
    """Renew the certificate with the present one as proof."""
    pair = KeyPair.read(Path(order.certificate_file), Path(order.key_file))
    ca_pem = Path(order.ca_file).read_bytes()
    return _sign(order, client_context(ca_pem, pair.certificate_pem, pair.key_pem), {}, ca_pem)


def _fetch_ca(order: Order) -> bytes:
    """Return what the cloud calls its CA; nothing vouches for it yet but the hash in the token."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    status, body = _exchange(order.url, "/ca.crt", context, {}, b"")
    if status != 200:
        raise ApplicationError(f"{order.url}/ca.crt answered {status}", is_final=False)
    return body


def _sign(order: Order, context: ssl.SSLContext, headers: dict[str, str], ca_pem: bytes) -> Report:
    """Have a new key signed and put it in place, the CA with it."""
    csr, key = request.make(order.node)
    status, body = _exchange(order.url, "/edge.crt", context, {"NodeName": order.node, **headers}, csr)
    if status != 200:
        reason = body.decode("utf-8", "replace").strip()
        raise ApplicationError(f"{order.url}/edge.crt answered {status}: {reason}", is_final=400 <= status < 500)
    facts = request.facts(body, key)
    if facts.subject.common_name != f"{NODE_PREFIX}{order.node}":
        raise ApplicationError(f"the cloud signed a certificate for {facts.subject.common_name}", is_final=True)
    write_file(Path(order.ca_file), ca_pem)
    KeyPair(body, key).write(_next(order.certificate_file), _next(order.key_file))
    _finish_renames(order)
    return Report("obtained", not_before=facts.not_before, not_after=facts.not_after)


def _next(path: str) -> Path:
    return Path(path + NEXT)


def _finish_renames(order: Order) -> None:
    """Put a new pair in the place of the old one, certificate last; again after a crash on the way."""
    if not _next(order.certificate_file).exists():
        return
    for path in (order.key_file, order.certificate_file):
        if _next(path).exists():
            os.replace(_next(path), path)


def _exchange(base: str, path: str, context: ssl.SSLContext, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    """Send one GET, with a body where there is one; return status and answer. Uses no proxy.

    Raises ApplicationError when the cloud cannot be reached or is not who it should be.
    """
    url = urlsplit(base)
    connection = http.client.HTTPSConnection(
        url.hostname or "", url.port or 443, timeout=EXCHANGE_TIMEOUT_S, context=context
    )
    try:
        connection.request("GET", f"{url.path}{path}", body or None, headers)
        response = connection.getresponse()
        return response.status, response.read(MAX_ANSWER_BYTES)
    except ssl.SSLCertVerificationError as error:
        raise ApplicationError(f"{base} is not trusted: {error.verify_message}", is_final=True) from None
    except (OSError, http.client.HTTPException) as error:
        raise ApplicationError(f"{base} cannot be reached: {error}", is_final=False) from None
    finally:
        connection.close()
