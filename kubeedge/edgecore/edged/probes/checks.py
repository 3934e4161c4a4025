"""One run of a probe: exec, httpGet, tcpSocket or grpc."""

from __future__ import annotations

import asyncio
import enum
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from kubeedge.config.host import endpoint
from kubeedge.edgecore.edged.pod import Object
from kubeedge.edgecore.edged.probes import http
from kubeedge.edgecore.edged.runtime.interface import ExecResult, RuntimeCallError, RuntimeUnavailableError

USER_AGENT = "kube-probe/1.32"
MAX_REDIRECTS = 10
# What of a command's output goes into an event.
MAX_OUTPUT_BYTES = 10 * 1024


class Outcome(enum.Enum):
    """Result of one run; WARNING is a success with something to say, ERROR says that it could not be run."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    ERROR = "error"


class Result(msgspec.Struct, frozen=True):
    """Outcome of one run and what it said."""

    outcome: Outcome
    output: str = ""

    @property
    def is_success(self) -> bool:
        return self.outcome in (Outcome.SUCCESS, Outcome.WARNING)


class Exec(Protocol):
    """Runs a command in a container; Runtime.exec_sync is one."""

    async def __call__(self, container_id: str, command: list[str], timeout_s: float) -> ExecResult: ...


class Target(msgspec.Struct, frozen=True):
    """What a probe is aimed at: a container and the address of its pod."""

    container_id: str
    container: Object
    pod_ip: str


class PortError(ValueError):
    """A port that the container does not have."""


def port_number(container: Object, port: object) -> int:
    """Return a port given by number or by the name of a container port. Raises PortError."""
    if isinstance(port, int) or (isinstance(port, str) and port.isdigit()):
        number = int(port)
        if 0 < number < 65536:
            return number
        raise PortError(f"invalid port number: {number}")
    for known in container.get("ports") or ():
        if known.get("name") == port:
            return int(known.get("containerPort") or 0)
    raise PortError(f"couldn't find port: {port!r}")


async def run(probe: Object, target: Target, execute: Exec) -> Result:
    """Run a probe once. Raises only RuntimeUnavailableError, out of exec: it says nothing of the container."""
    timeout_s = float(probe.get("timeoutSeconds") or 1)
    try:
        if "exec" in probe:
            return await _exec(probe["exec"], target, execute, timeout_s)
        if "httpGet" in probe:
            return await _http(probe["httpGet"], target, timeout_s)
        if "tcpSocket" in probe:
            return await _tcp(probe["tcpSocket"], target, timeout_s)
        if "grpc" in probe:
            return await _grpc(probe["grpc"], target, timeout_s)
    except PortError as error:
        return Result(Outcome.ERROR, str(error))
    return Result(Outcome.ERROR, f"missing probe handler for {target.container.get('name')}")


async def _exec(body: Object, target: Target, execute: Exec, timeout_s: float) -> Result:
    command = list(body.get("command") or ())
    try:
        result = await execute(target.container_id, command, timeout_s)
    except TimeoutError:
        shown = " ".join(command)
        return Result(Outcome.FAILURE, f'command "{shown}" timed out after {timeout_s:g}s')
    except RuntimeUnavailableError:
        raise
    except RuntimeCallError as error:
        return Result(Outcome.ERROR, error.message)
    text = (result.stdout + result.stderr)[:MAX_OUTPUT_BYTES].decode("utf-8", "replace")
    return Result(Outcome.FAILURE if result.exit_code else Outcome.SUCCESS, text)


async def _http(body: Object, target: Target, timeout_s: float) -> Result:
    scheme = str(body.get("scheme") or "HTTP")
    host = str(body.get("host") or target.pod_ip)
    port = port_number(target.container, body.get("port"))
    path = str(body.get("path") or "/")
    headers = headers_of(body)
    seen_from = (host, port)
    for _ in range(MAX_REDIRECTS):
        try:
            answer = await http.get(scheme, host, port, path, headers, timeout_s)
        except http.HttpFailure as failure:
            return Result(Outcome.FAILURE, str(failure))
        location = answer.headers.get("location", "")
        if not 300 <= answer.status < 400 or not location:
            break
        following = urlsplit(location)
        if following.hostname and following.hostname != seen_from[0]:
            return Result(Outcome.WARNING, f"Probe terminated redirects, Response body: {_text(answer)}")
        if following.hostname:
            scheme = following.scheme or scheme
            port = following.port or (443 if scheme.lower() == "https" else 80)
        path = (following.path or "/") + (f"?{following.query}" if following.query else "")
    else:
        return Result(Outcome.FAILURE, f"stopped after {MAX_REDIRECTS} redirects")
    if 200 <= answer.status < 400:
        return Result(Outcome.SUCCESS, _text(answer))
    return Result(Outcome.FAILURE, f"HTTP probe failed with statuscode: {answer.status}")


def headers_of(body: Object) -> dict[str, str]:
    """Return the headers of an httpGet action: those of the pod over those of a node."""
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*"}
    for entry in body.get("httpHeaders") or ():
        name = str(entry.get("name") or "")
        for known in [k for k in headers if k.lower() == name.lower()]:
            del headers[known]
        headers[name] = str(entry.get("value") or "")
    return headers


def _text(answer: http.Answer) -> str:
    return answer.body.decode("utf-8", "replace")


async def _tcp(body: Object, target: Target, timeout_s: float) -> Result:
    host = str(body.get("host") or target.pod_ip)
    port = port_number(target.container, body.get("port"))
    address = endpoint(host, port)
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Result(Outcome.FAILURE, f"dial tcp {address}: i/o timeout")
    except ConnectionRefusedError:
        return Result(Outcome.FAILURE, f"dial tcp {address}: connect: connection refused")
    except OSError as error:
        return Result(Outcome.FAILURE, f"dial tcp {address}: {error.strerror or error}")
    writer.close()
    return Result(Outcome.SUCCESS)


async def _grpc(body: Object, target: Target, timeout_s: float) -> Result:
    # Imported here: few pods ask for it and its HTTP/2 library costs a node 2 MB.
    from kubeedge.edgecore.edged.probes import grpc

    port = port_number(target.container, body.get("port"))
    return await grpc.check(target.pod_ip, port, str(body.get("service") or ""), timeout_s)
