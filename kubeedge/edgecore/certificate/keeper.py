"""Knows whether the node's certificate is good, and sees to it that it stays so."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from kubeedge import metrics
from kubeedge.edgecore.certificate.order import Order, Report, decode_report, encode
from kubeedge.pki.tls import client_context

log = logging.getLogger(__name__)

# The process makes at most two exchanges of 30 s each with the cloud.
PROCESS_TIMEOUT_S = 90
# Part of a certificate's life after which it is renewed, drawn anew each time (spec 02 §1.6).
RENEW_FROM, RENEW_TO = 0.7, 0.9
# Pauses between attempts to renew, then LAST_PAUSE_S for ever; each up to a tenth longer.
ROTATION_PAUSES_S = (2.0, 4.0, 8.0, 16.0)
LAST_PAUSE_S = 32.0
# Pauses between applications while the cloud cannot be reached, growing up to the second.
FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 30.0
# How often to look for a new token once an application has been refused.
TOKEN_LOOK_S = 5.0
# A sleeping machine's clock jumps: what waits for a time looks at it again at least this often.
LOOK_S = 600.0

_attempts = metrics.Counter("kubeedge_certificate_attempts_total", "Work on the certificate", ("action", "outcome"))
_ends = metrics.Gauge("kubeedge_certificate_expiration_seconds", "When the node's certificate ends, in Unix time")


class CertificateError(Exception):
    """The node has no certificate and cannot get one before somebody has changed something."""


class Settings(msgspec.Struct, frozen=True):
    """Who the node is, where the cloud signs (`https://host:10002`) and where the PEM files lie."""

    node: str
    url: str
    ca_file: Path
    certificate_file: Path
    key_file: Path
    rotate: bool = True


class CertificateKeeper:
    """The node's certificate. token gives the join token as it is now, empty when there is none."""

    def __init__(
        self,
        settings: Settings,
        token: Callable[[], str],
        *,
        now: Callable[[], float] = time.time,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._settings = settings
        self._token = token
        self._now = now
        self._uniform = uniform
        self._not_before = 0.0
        self._not_after = 0.0

    async def ensure(self) -> bool:
        """Return once a usable certificate lies in its place; True when it is a new one (the token has been used).

        A cloud that cannot be reached is tried again for ever. Raises CertificateError when the node has never had a
        certificate and is refused one (token missing, expired, for another cloud). A node that had one waits for a
        good token instead, because its pods run on meanwhile.
        """
        had_one = self._settings.certificate_file.exists()
        pause_s = FIRST_PAUSE_S
        while True:
            report = await self._run("ensure")
            if report.outcome != "failed":
                return report.outcome == "obtained"
            if report.is_final and not had_one:
                raise CertificateError(report.reason)
            log.error("node has no usable certificate reason=%s", report.reason)
            if report.is_final:
                await self._new_token()
            else:
                await asyncio.sleep(pause_s * self._uniform(1, 1.1))
                pause_s = min(2 * pause_s, MAX_PAUSE_S)

    async def run(self, on_rotated: Callable[[], None]) -> None:
        """Renew the certificate in time, for ever; on_rotated is called after each renewal. ensure() comes first.

        Returns at once where rotation is switched off.
        """
        if not self._settings.rotate:
            return
        while True:
            await self._sleep_until(self._renewal())
            await self._rotate()
            on_rotated()

    def ssl_context(self) -> ssl.SSLContext:
        """Make a client context from the files as they are now. Raises OSError, PkiError."""
        settings = self._settings
        return client_context(
            settings.ca_file.read_bytes(), settings.certificate_file.read_bytes(), settings.key_file.read_bytes()
        )

    def _renewal(self) -> float:
        return self._not_before + self._uniform(RENEW_FROM, RENEW_TO) * (self._not_after - self._not_before)

    async def _sleep_until(self, moment: float) -> None:
        while (left_s := moment - self._now()) > 0:  # noqa: ASYNC110 - waits for a time, not for an event
            await asyncio.sleep(min(left_s, LOOK_S))

    async def _new_token(self) -> None:
        """Wait for another token than the one that was refused, but not for ever: the cloud may change its mind."""
        refused = self._token()
        for _ in range(round(LOOK_S / TOKEN_LOOK_S)):
            await asyncio.sleep(TOKEN_LOOK_S)
            if self._token() != refused:
                return

    async def _rotate(self) -> None:
        attempt = 0
        while True:
            # A certificate that has ended proves nothing any more: only a token helps then.
            has_ended = self._now() >= self._not_after
            report = await self._run("ensure" if has_ended else "rotate")
            if report.outcome == "obtained":
                return
            log.error("certificate not renewed attempt=%d reason=%s", attempt + 1, report.reason)
            pause_s = ROTATION_PAUSES_S[attempt] if attempt < len(ROTATION_PAUSES_S) else LAST_PAUSE_S
            attempt += 1
            await asyncio.sleep(pause_s * self._uniform(1, 1.1))

    async def _run(self, action: str) -> Report:
        """Have one order carried out by a process of its own."""
        settings = self._settings
        order = Order(
            action,
            settings.node,
            settings.url.rstrip("/"),
            str(settings.ca_file),
            str(settings.certificate_file),
            str(settings.key_file),
            self._token() if action == "ensure" else "",
        )
        report = await _carry_out(order)
        _attempts.inc(action, report.outcome)
        if report.warning:
            log.warning("certificate warning=%s", report.warning)
        if report.outcome != "failed":
            self._not_before, self._not_after = report.not_before, report.not_after
            _ends.set(report.not_after)
            log.info("certificate %s node=%s", report.outcome, settings.node)
        return report


async def _carry_out(order: Order) -> Report:
    # The token goes through a pipe: a command line can be read by every user of the machine.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "kubeedge.edgecore.certificate",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PROCESS_TIMEOUT_S):
            output, _ = await process.communicate(encode(order))
        return decode_report(output)
    except TimeoutError:
        return Report("failed", f"process took longer than {PROCESS_TIMEOUT_S} s")
    except msgspec.DecodeError:
        return Report("failed", f"process ended with status {process.returncode}, see the lines above")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
