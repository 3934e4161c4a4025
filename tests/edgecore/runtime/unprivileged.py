"""A program that uses the runtime as the user nobody and prints what it saw, for test_process.py.

The supervisor is forked, not executed: nobody may not be able to read the Python that the tests run on.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401 - asyncio would load it when it cannot be read any more
import json
import os
import sys
from pathlib import Path
from typing import Any

from kubeedge.edgecore.edged.runtime.interface import Mount, RuntimeCallError, SecurityContext
from kubeedge.edgecore.edged.runtime.process import kernel, program
from tests.edgecore.runtime.conftest import Node, until

NOBODY = 65534
PR_SET_DUMPABLE = 4


async def main(folder: Path) -> dict[str, Any]:
    node = Node(folder)
    node.runtime._records.make_folders()
    if not os.fork():
        program.run(str(node.root))

    async def started() -> None:
        await until((node.root / "supervisor.sock").exists)

    node.runtime._client.start = started  # type: ignore[method-assign]
    await node.start()
    told: dict[str, Any] = {"features": sorted(node.runtime._features)}
    try:
        if "user" not in told["features"]:
            return told
        (folder / "file").write_text("text\n")
        script = "echo $$; id -u; hostname; cat /not-on-host; sleep 60"
        container = await node.run(
            "sh", "-c", script, mounts=[Mount("/not-on-host", str(folder / "file"))], log_path="0"
        )
        await until(lambda: len(node.output("0")) == 4)
        sibling = await node.run("sleep", "60")
        told["ipc"] = [os.readlink(f"/proc/{node.pid(one)}/ns/ipc") for one in (container, sibling)]
        told["output"] = node.output("0")
        told["exec"] = (await node.runtime.exec_sync(container, ["id", "-u"], 5)).stdout.decode()
        try:
            await node.create("true", security=SecurityContext(run_as_user=0))
        except RuntimeCallError as error:
            told["refused"] = str(error)
        return told
    finally:
        await node.clean_up()


if __name__ == "__main__":
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    # A process that changed its user may not see its own files in /proc until it executes a program.
    kernel._prctl(PR_SET_DUMPABLE, 1)
    print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
