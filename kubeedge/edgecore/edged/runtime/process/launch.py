"""What a forked child of the supervisor does to become a container, or a command in a running container.

A child does everything here and ends in execve of the command, so no Python stays in memory. It gets no objects,
only the folder of the container with the `plan` that the runtime wrote there: a dict in marshal format, because
json would cost 9 ms of CPU in every exec probe (2 cores at 2.6 GHz). `channel` is a Unix socket to the supervisor:
`pid <n>` or `error <text>` go out, one byte comes in when the pid is on disk; it closes with execve.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import pwd
import termios

from kubeedge.edgecore.edged.runtime.process import capabilities, cgroups, kernel, mounts, namespaces
from kubeedge.edgecore.edged.runtime.process.convention import PLAN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_SIGNALS_THAT_PYTHON_IGNORES = (13, 25)  # SIGPIPE, SIGXFSZ


class LaunchError(Exception):
    """The command cannot be started; the text is for whoever wrote the pod."""


def container(folder: str, sibling: int, terminal: int, channel: int) -> NoReturn:
    """Become the container whose plan lies in folder.

    sibling is the process of a running container of the pod whose IPC namespace is shared, 0 for none; terminal is
    the slave side of a pseudo terminal, -1 for none.
    """
    try:
        plan = read_plan(folder)
        wanted = set(plan["namespaces"])
        if sibling and "ipc" in wanted:
            # An IPC namespace belongs to the user namespace that it was made in.
            shared = wanted & {"user", "ipc"}
            try:
                found = namespaces.opened(sibling, shared)
            except OSError:
                pass  # it ended in this moment, and its namespaces with it
            else:
                namespaces.enter(found)
                wanted -= shared
        namespaces.unshare(wanted)
        _become_child(channel)
        if not os.read(channel, 1):
            os._exit(128)  # the supervisor is gone, nobody would know of this container
        os.setsid()
        _set_stdio(folder, plan, terminal)
        _set_oom_score(plan["oom_score_adj"])
        if plan["cgroup"]:
            cgroups.find().enter(plan["cgroup"], plan["limits"], plan["unified"])
        if "uts" in plan["namespaces"] and plan["hostname"]:
            kernel.set_hostname(plan["hostname"])
        if "mount" in plan["namespaces"]:
            mounts.Tree(f"{folder}/stage").build(plan)
        _execute(plan, plan["argv"])
    except (OSError, LookupError, LaunchError, ValueError) as error:
        _fail(channel, error)


def command(folder: str, target: int, argv: list[str], stdout: int, stderr: int, channel: int) -> NoReturn:
    """Become argv in the container of process target, with its environment, user and folder."""
    try:
        plan = read_plan(folder)
        if plan["cgroup"]:
            cgroups.find().join(plan["cgroup"])
        namespaces.join(target, plan["namespaces"])
        _become_child(channel)
        os.setsid()
        null = os.open("/dev/null", os.O_RDONLY)
        for fd, place in ((null, 0), (stdout, 1), (stderr, 2)):
            os.dup2(fd, place)
        _set_oom_score(plan["oom_score_adj"])
        _execute(plan, argv)
    except (OSError, LookupError, LaunchError, ValueError) as error:
        _fail(channel, error)


def read_plan(folder: str) -> dict[str, Any]:
    """Return the plan in folder. Raises OSError, ValueError."""
    with open(f"{folder}/{PLAN}", "rb") as file:
        try:
            plan: dict[str, Any] = marshal.load(file)
        except (EOFError, TypeError) as error:
            raise ValueError(f"unreadable plan: {error}") from error
    return plan


def _become_child(channel: int) -> None:
    """Go on as a child: a new PID namespace holds only children. The supervisor, as subreaper, becomes its parent."""
    pid = os.fork()
    if pid:
        os.write(channel, b"pid %d" % pid)
        os._exit(0)


def _set_stdio(folder: str, plan: dict[str, Any], terminal: int) -> None:
    stdio: tuple[int, ...]
    if terminal >= 0:
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        stdio = (terminal, terminal, terminal)
    else:
        source = f"{folder}/stdin" if plan["stdin"] else "/dev/null"
        # Open for both ways, so that a container neither waits for its supervisor nor dies with it (SIGPIPE).
        stdio = tuple(
            os.open(path, os.O_RDWR | os.O_NOCTTY) for path in (source, f"{folder}/stdout", f"{folder}/stderr")
        )
    for place, fd in enumerate(stdio):
        if plan["uid"] >= 0 and os.geteuid() == 0 and terminal < 0 and place:
            os.fchown(fd, plan["uid"], -1)
        os.dup2(fd, place)


def _set_oom_score(score: int) -> None:
    """Lowering the score needs a privilege; without it the kernel's choice stays as it is."""
    try:
        kernel.write_file("/proc/self/oom_score_adj", b"%d" % score)
    except OSError:
        return


def _execute(plan: dict[str, Any], argv: list[str]) -> NoReturn:
    """Give up what the command must not have and become it."""
    env = dict(plan["env"])
    env.setdefault("PATH", DEFAULT_PATH)
    if plan["hostname"]:
        env.setdefault("HOSTNAME", plan["hostname"])
    uid, gid, home = _find_user(plan)
    env.setdefault("HOME", home)
    try:
        os.chdir(plan["cwd"])
    except OSError as error:
        raise LaunchError(f"cannot enter working directory {plan['cwd']}: {error.strerror}") from error
    if plan["no_new_privs"]:
        kernel.forbid_new_privileges()
    if plan["seccomp"]:
        # Before the rights go that it takes to do this; what the container must not do, its launcher does not either.
        kernel.filter_system_calls(plan["seccomp"])
    if plan["capabilities"] is not None:
        kept = set(plan["capabilities"])
        for number in range(len(capabilities.NAMES)):
            if number not in kept and _is_bounding(number):
                kernel.drop_from_bounding_set(number)
    if os.geteuid() == 0 and "user" not in plan["namespaces"]:
        os.setgroups(plan["groups"])
        os.setgid(gid)
        os.setuid(uid)
    os.umask(0o022)
    for number in _SIGNALS_THAT_PYTHON_IGNORES:
        kernel.reset_signal(number)
    try:
        _replace_process(argv, env)
    except OSError as error:
        raise LaunchError(f'exec: "{argv[0]}": {(error.strerror or "").lower()}') from error


def _find_user(plan: dict[str, Any]) -> tuple[int, int, str]:
    """Return user, group and home folder; the container's own /etc/passwd knows what the plan leaves open."""
    uid, gid, name = plan["uid"], plan["gid"], plan["username"]
    try:
        entry = pwd.getpwnam(name) if name and uid < 0 else pwd.getpwuid(uid if uid >= 0 else os.geteuid())
    except KeyError:
        if name and uid < 0:
            raise LaunchError(f"unable to find user {name}: no matching entries in passwd file") from None
        return uid, max(gid, 0), "/"
    return entry.pw_uid, gid if gid >= 0 else entry.pw_gid, entry.pw_dir


def _is_bounding(number: int) -> bool:
    try:
        return kernel.in_bounding_set(number)
    except OSError:
        return False


def _replace_process(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Become argv. os.execvpe is not used: it imports a module, which an image's file tree does not have."""
    name = argv[0]
    if "/" in name:
        os.execve(name, argv, env)
    denied: OSError | None = None
    for folder in env["PATH"].split(":"):
        try:
            os.execve(f"{folder or '.'}/{name}", argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            denied = error
    raise denied or LaunchError(f'exec: "{name}": executable file not found in $PATH')


def _fail(channel: int, error: Exception) -> NoReturn:
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    os.write(channel, b"error " + text.encode("utf-8", "replace"))
    os._exit(128)
