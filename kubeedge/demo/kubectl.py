"""kubectl as a person would call it: the one of the virtual environment, else that of the system."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

TIMEOUT_S = 60


class KubectlError(Exception):
    """kubectl said no; the text is what it printed."""


class Kubectl:
    """Runs kubectl against one kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig

    async def __call__(self, *arguments: str) -> str:
        """Run `kubectl arguments` and return what it prints. Raises KubectlError."""
        environment = {**os.environ, "KUBECONFIG": str(self._kubeconfig)}
        try:
            process = await asyncio.create_subprocess_exec(
                find(),
                *arguments,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
            async with asyncio.timeout(TIMEOUT_S):
                output, errors = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise KubectlError(f"kubectl {' '.join(arguments)}: no answer in {TIMEOUT_S} s") from None
        if process.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {errors.decode().strip()}")
        return output.decode()


def find() -> str:
    """Return the path of kubectl. Raises KubectlError where there is none."""
    own = Path(sys.executable).with_name("kubectl")
    path = str(own) if own.exists() else shutil.which("kubectl")
    if path is None:
        raise KubectlError("kubectl is missing; the extra `demo` of this package brings it")
    return path
