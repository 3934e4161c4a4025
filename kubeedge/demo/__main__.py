"""`python -m kubeedge.demo`, which `ci/demo` calls."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path

import click

from kubeedge.demo import choice
from kubeedge.demo.check import Check
from kubeedge.demo.program import ProgramError
from kubeedge.demo.show import show
from kubeedge.demo.site import Site

INTERRUPTED = 130


@click.command()
@click.option("--check", "checks", is_flag=True, help="Prove every step, without a terminal, and end.")
@click.option("--keep", is_flag=True, help="Leave data and logs in their folder.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for data and logs, made for this run and removed at its end (a temporary one).",
)
@click.option(
    "--runtime",
    type=click.Choice(["process", "cri"]),
    help="What runs the pods: processes of this machine, or a container engine. By default containerd, where its "
    "socket is there and nothing speaks against it.",
)
@click.option(
    "--endpoint",
    envvar="CONTAINER_RUNTIME_ENDPOINT",
    default=choice.CONTAINERD,
    show_default=True,
    show_envvar=True,
    help="Socket of the container engine.",
)
def main(checks: bool, keep: bool, folder: Path | None, runtime: str | None, endpoint: str) -> None:
    """A Kubernetes API, cloudcore and edgecore on this machine, with pods and a device on the edge node.

    Ctrl-C ends all of it and leaves nothing behind.
    """
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise click.UsageError(f"{folder} is not empty")
    chosen = _choose(runtime, endpoint)
    site = Site((folder or Path(tempfile.mkdtemp(prefix="kubeedge-demo-"))).resolve(), chosen, has_devices=True)
    sys.exit(asyncio.run(_until_signal(_run_check(site, keep) if checks else _run_show(site, keep))))


def _choose(runtime: str | None, endpoint: str) -> str:
    """Return the endpoint of the runtime to use, empty for processes of this machine."""
    if runtime == "process" or (runtime is None and not choice.has_socket(endpoint)):
        return ""
    obstacle = asyncio.run(choice.obstacle(endpoint))
    if not obstacle:
        return endpoint
    if runtime == "cri":
        raise click.ClickException(f"no container engine to use: {obstacle}")
    click.echo(f"containerd is there but not used: {obstacle}", err=True)
    return ""


async def _until_signal(running: Coroutine[None, None, int]) -> int:
    """Run to the end, or until Ctrl-C, TERM or a closed terminal; what is under way tidies up in either case."""
    task = asyncio.ensure_future(running)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return INTERRUPTED


async def _run_check(site: Site, keep: bool) -> int:
    started = time.monotonic()
    try:
        click.echo(f"runtime: {await site.containers.name()}")
        passed = await Check(site, click.echo).run()
        if not passed:
            for program in site.programs:
                if not program.last_words():
                    continue
                click.echo(f"--- last lines of {program.log_path.name}\n{program.last_words()}", err=True)
    finally:
        await _clean_up(site, keep)
    click.echo(f"took {time.monotonic() - started:.1f} s", err=True)
    return 0 if passed else 1


async def _run_show(site: Site, keep: bool) -> int:
    try:
        click.echo(f"runtime: {await site.containers.name()}")
        await show(site)
    except ProgramError as error:
        click.echo(f"error: {error}", err=True)
        return 1
    finally:
        await _clean_up(site, keep)
    return 0


async def _clean_up(site: Site, keep: bool) -> None:
    """End everything; a second Ctrl-C does not stop this."""
    tidying = asyncio.ensure_future(site.clean_up(keep))
    while not tidying.done():
        try:
            await asyncio.shield(tidying)
        except asyncio.CancelledError:
            continue
    if keep:
        click.echo(f"data and logs are in {site.folder}", err=True)


if __name__ == "__main__":
    main()
