"""Lifecycle hooks of containers: postStart and preStop (spec 05 §5.5)."""

from __future__ import annotations

import asyncio

from kubeedge.edgecore.edged.pod import Object, Pod
from kubeedge.edgecore.edged.probes import checks, http
from kubeedge.edgecore.edged.probes.checks import Exec, PortError, Target
from kubeedge.edgecore.edged.runtime.interface import RuntimeCallError, RuntimeUnavailableError

# An HTTP hook without an answer; commands have no limit but the grace of the pod.
HTTP_TIMEOUT_S = 30.0


class HookError(Exception):
    """A hook that failed; the text is Kubernetes'."""


async def run(pod: Pod, hook: Object, target: Target, execute: Exec) -> None:
    """Run one hook to its end. Raises HookError."""
    name = target.container.get("name")
    where = f'for Container "{name}" in Pod "{pod.full_name}" failed - error: '
    if "exec" in hook:
        command = list(hook["exec"].get("command") or ())
        what = f"Exec lifecycle hook ([{' '.join(command)}]) {where}"
        try:
            result = await execute(target.container_id, command, 0)
        except RuntimeCallError as error:
            raise HookError(f'{what}{error.message}, message: ""') from None
        except (TimeoutError, RuntimeUnavailableError) as error:
            raise HookError(f'{what}{error}, message: ""') from None
        if result.exit_code:
            output = (result.stdout + result.stderr)[: checks.MAX_OUTPUT_BYTES].decode("utf-8", "replace")
            shown = f"command '{' '.join(command)}' exited with {result.exit_code}: {output}"
            raise HookError(f'{what}{shown}, message: "{_escaped(output)}"')
    elif "httpGet" in hook:
        await _http(hook["httpGet"], target, where)
    elif "sleep" in hook:
        await asyncio.sleep(float(hook["sleep"].get("seconds") or 0))
    else:
        raise HookError(f"Invalid handler: {', '.join(hook)}")


async def _http(body: Object, target: Target, where: str) -> None:
    path = str(body.get("path") or "/")
    what = f"HTTP lifecycle hook ({path}) {where}"
    try:
        port = checks.port_number(target.container, body.get("port"))
        host = str(body.get("host") or target.pod_ip)
        scheme = str(body.get("scheme") or "HTTP")
        answer = await http.get(scheme, host, port, path, checks.headers_of(body), HTTP_TIMEOUT_S)
    except (PortError, http.HttpFailure) as error:
        raise HookError(f'{what}{error}, message: ""') from None
    if not 200 <= answer.status < 400:
        raise HookError(f'{what}HTTP status {answer.status}, message: ""')


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
