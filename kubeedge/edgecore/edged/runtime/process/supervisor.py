"""The supervisor: parent of all container processes, keeper of their logs and exit codes.

One process for all containers, started by the runtime and never stopped by it: containers outlive edgecore. It is
asked over a Unix socket, one request a connection:

    watch                                       hello, a state for every container, synced; then a state at each change
    start <id> <sandbox> <log> <cgroup> <tty>   its state; when it cannot start: exited, StartError and a text
    stop <id> <milliseconds>                    its state when it has ended
    exec <id> <argument>...  + 2 descriptors    exit <code> | error <text>; closing the connection kills the command
    log <id>                                    ok; opens the log file anew, after a rotation
    forget <id>                                 ok; its folder may be removed
    renew <python> <path>                       replaces the supervisor by that of another version, in place
    quit                                        ok; ends the supervisor, containers run on
    destroy                                     ok when all containers are killed; ends the supervisor

What it knows is on disk before anybody is told (container.py). A supervisor that comes after one that died takes the
running containers over; only an exit code that nobody waited for is lost.

What is imported here stays in memory on every node, so it is little: `socket` and `signal` alone would add 1.1 MB,
hence `_socket`, and pidfds (Linux 5.3) in place of SIGCHLD.
"""

from __future__ import annotations

import _socket
import os
import sys
import time

from kubeedge import __version__
from kubeedge.edgecore.edged.runtime.process import cgroups, disk, features, kernel, launch, processes
from kubeedge.edgecore.edged.runtime.process.container import Container, load
from kubeedge.edgecore.edged.runtime.process.convention import MARK
from kubeedge.edgecore.edged.runtime.process.loop import Loop
from kubeedge.edgecore.edged.runtime.process.output import Output
from kubeedge.edgecore.edged.runtime.process.request import MAX_BYTES, Connection, RequestError
from kubeedge.edgecore.edged.runtime.process.server import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

# The longest sleep; orphans are reaped, and ends that a full disk kept off it written, at least this often.
MAX_SLEEP_MS = 30_000

# What a container is given for an exit that nobody saw, as containerd does.
UNKNOWN_EXIT_CODE = 255
START_ERROR_CODE = 128
GONE = "its exit code went to a supervisor that is gone"


class Exec:
    """A command that runs in a container for a connection."""

    __slots__ = ("connection", "pid")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.pid = 0


class Launch:
    """A child on its way to become a command; error is what it said went wrong."""

    __slots__ = ("channel", "connection", "error", "job")

    def __init__(self, channel: _socket.socket, job: Container | Exec, connection: Connection) -> None:
        self.channel = channel
        self.job = job
        self.connection = connection
        self.error = ""


class Supervisor:
    """Serves requests and keeps containers, in one thread, with blocking calls only where they are short.

    renew(python, path) replaces the process by another version of itself; tell takes a line of its own log.
    """

    def __init__(self, root: str, renew: Callable[[str, str], NoReturn], tell: Callable[[str], None]) -> None:
        self._root = root
        self._become = renew
        self._say = tell
        self._loop = Loop()
        self._server = Server(self._loop, self._handle, self._closed, tell)
        self._containers: dict[str, Container] = {}
        self._children: dict[int, Container | Exec] = {}
        # Ends of children whose number has not been read yet, by number.
        self._strays: dict[int, int] = {}
        self._launches: list[Launch] = []
        self._destroyer: Connection | None = None
        self._cgroups = cgroups.find()
        self._features: list[str] = []
        self._boot_id = disk.boot_id()

    def start(self) -> None:
        """Take over what runs, then listen. Raises OSError."""
        trial = f"{self._root}/trial"
        os.makedirs(trial, exist_ok=True)
        self._features = features.find(trial)
        kernel.become_subreaper()
        self._cgroups.leave_service(disk.read("/proc/self/cgroup"))
        for name in sorted(os.listdir(f"{self._root}/containers")):
            self._recover(f"{self._root}/containers/{name}")
        self._server.listen(self._root)

    def serve(self) -> NoReturn:
        """Serve until killed or told to end."""
        while True:
            self._loop.turn(self._sleep_ms())
            self._reap()
            self._kill_late()
            self._record_late()
            if self._destroyer is not None:
                self._leave_when_empty(self._destroyer)
            self._server.flush()

    # Requests

    def _handle(self, connection: Connection, word: str, fields: list[str], descriptors: list[int]) -> None:
        if word == "watch":
            self._server.watch(connection, self._snapshot())
        elif word == "start":
            self._start(connection, *fields)
        elif word == "stop":
            self._stop(connection, fields[0], int(fields[1]))
        elif word == "exec":
            self._exec(connection, fields[0], fields[1:], *descriptors)
        elif word == "log":
            output = self._known(fields[0]).output
            if output is not None:
                output.reopen_log()
            self._server.answer(connection, "ok")
        elif word == "forget":
            self._forget(fields[0])
            self._server.answer(connection, "ok")
        elif word == "renew":
            if self._launches or any(isinstance(job, Exec) for job in self._children.values()):
                raise RequestError("busy")
            self._server.answer(connection, "ok")
            self._cut_logs()
            self._become(*fields)
        elif word == "quit":
            self._server.answer(connection, "ok")
            self._cut_logs()
            sys.exit(0)
        elif word == "destroy":
            self._destroyer = connection
            for container in self._containers.values():
                if container.is_running():
                    self._kill_all(container)

    def _known(self, name: str) -> Container:
        try:
            return self._containers[name]
        except KeyError:
            raise RequestError(f"bad request: container {name} was not started") from None

    def _closed(self, connection: Connection) -> None:
        if connection.exec_pid in self._children:
            processes.kill_session(connection.exec_pid)

    def _snapshot(self) -> list[list[str]]:
        hello = ["hello", __version__, str(os.getpid()), " ".join(self._features)]
        known = [container.state() for container in self._containers.values() if container.pid or container.finished_ns]
        return [hello, *known, ["synced"]]

    def _leave_when_empty(self, asker: Connection) -> None:
        if any(not container.finished_ns for container in self._containers.values()):
            return
        for name in list(self._containers):
            self._forget(name)
        self._server.answer(asker, "ok")
        sys.exit(0)

    # Starting

    def _start(self, connection: Connection, name: str, sandbox: str, log_path: str, cgroup: str, tty: str) -> None:
        if name in self._containers:
            raise RequestError(f"container {name} was started before")
        container = Container(f"{self._root}/containers/{name}", sandbox, log_path, cgroup)
        output = Output(self._loop, container.folder, log_path, self._say)
        output.make_pipes()
        terminal = output.make_terminal() if tty else -1
        siblings = (other for other in self._containers.values() if other.sandbox == sandbox and other.is_running())
        sibling = next((other.pid for other in siblings), 0)
        container.output = output
        self._containers[name] = container
        try:
            output.open()
            self._launch(
                container, connection, lambda channel: launch.container(container.folder, sibling, terminal, channel)
            )
        except OSError as error:
            self._finish(container, START_ERROR_CODE, "StartError", str(error))
            self._server.answer(connection, *container.state())
        finally:
            if terminal >= 0:
                os.close(terminal)

    def _exec(self, connection: Connection, name: str, argv: list[str], stdout: int, stderr: int) -> None:
        container = self._known(name)
        if not container.is_running():
            raise RequestError("container is not running")
        folder, target = container.folder, container.pid
        self._launch(
            Exec(connection),
            connection,
            lambda channel: launch.command(folder, target, argv, stdout, stderr, channel),
        )

    def _launch(self, job: Container | Exec, connection: Connection, become: Callable[[int], NoReturn]) -> None:
        channel, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        child = os.fork()
        if not child:
            channel.close()
            try:
                become(theirs.fileno())
            finally:
                os._exit(START_ERROR_CODE)
        theirs.close()
        channel.setblocking(False)
        started = Launch(channel, job, connection)
        self._launches.append(started)
        self._await_end(child)
        self._loop.add(channel.fileno(), lambda: self._hear(started))

    def _hear(self, started: Launch) -> None:
        """Take what a child says, until it has become the command or given up."""
        while True:
            try:
                packet = started.channel.recv(MAX_BYTES)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            word, _, text = packet.decode("utf-8", "replace").partition(" ")
            if word == "pid":
                self._know_pid(started, int(text))
            elif word == "error":
                started.error = text
            else:
                break
        self._loop.remove(started.channel.fileno())
        started.channel.close()
        self._launches.remove(started)
        self._launched(started.job, started.connection, started.error)
        for pid in [pid for pid in self._strays if pid in self._children]:
            self._ended(pid, self._strays.pop(pid))
        if not self._launches:
            self._strays.clear()

    def _know_pid(self, started: Launch, pid: int) -> None:
        job = started.job
        job.pid = pid
        self._children[pid] = job
        self._await_end(pid)
        if isinstance(job, Exec):
            job.connection.exec_pid = pid
            return
        job.ticks = processes.start_ticks(pid)
        job.is_namespaced = not processes.shares_pid_namespace(pid)
        job.started_ns = time.time_ns()
        try:
            job.record_start(self._boot_id)
        except OSError as error:
            # Nobody would know of it after a restart, so it must not start: without the word it leaves.
            started.error = f"the start cannot be written down: {error.strerror}"
            processes.kill_session(pid)
            return
        started.channel.send(b"g")

    def _launched(self, job: Container | Exec, connection: Connection, error: str) -> None:
        if not job.pid and not error:
            error = "the launcher was killed"
        if error:
            self._children.pop(job.pid, None)
        if isinstance(job, Exec):
            if error:
                self._server.answer(connection, "error", error)
            return
        if error:
            self._finish(job, START_ERROR_CODE, "StartError", error)
        else:
            self._server.tell(job.state())
        self._server.answer(connection, *job.state())

    # Ending

    def _stop(self, connection: Connection, name: str, grace_ms: int) -> None:
        container = self._known(name)
        if container.finished_ns:
            self._server.answer(connection, *container.state())
            return
        now = time.monotonic_ns()
        deadline = now + grace_ms * 1_000_000
        container.deadline_ns = min(container.deadline_ns or deadline, deadline)
        container.waiting.append(connection)
        if grace_ms and container.pid:
            processes.signal(container.pid, processes.TERM)

    def _kill_late(self) -> None:
        now = time.monotonic_ns()
        for container in self._containers.values():
            # One that is still being launched has no process of its own yet, but soon.
            if container.pid and container.deadline_ns and container.deadline_ns <= now:
                container.deadline_ns = 0
                self._kill_all(container)

    def _kill_all(self, container: Container) -> None:
        """Kill every process of a running container; a PID namespace ends with its first process."""
        processes.kill_session(container.pid)
        self._kill_left(container)

    def _kill_left(self, container: Container) -> None:
        """Kill what a container without a PID namespace leaves behind when its main process ends."""
        if container.is_namespaced:
            return
        for pid in self._cgroups.processes(container.cgroup) if container.cgroup else ():
            processes.signal(pid, processes.KILL)
        for pid in processes.with_variable(MARK, container.id):
            processes.signal(pid, processes.KILL)

    def _forget(self, name: str) -> None:
        container = self._containers.get(name)
        if container is None:
            return
        if not container.finished_ns:
            raise RequestError("container is running")
        if container.cgroup:
            self._cgroups.remove(container.cgroup)
        del self._containers[name]

    def _await_end(self, pid: int) -> None:
        """Wake up when the process ends."""
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return

        def wake() -> None:
            self._loop.remove(fd)
            os.close(fd)
            job = self._children.get(pid)
            if isinstance(job, Container) and job.is_adopted:
                del self._children[pid]
                self._finish(job, UNKNOWN_EXIT_CODE, "Unknown", GONE)

        self._loop.add(fd, wake)

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            pid = ended.si_pid
            job = self._children.get(pid)
            for started in [started for started in self._launches if started.job is job]:
                self._hear(started)  # its last words come before its end
            if isinstance(job, Container):
                # Before its number is free: as long as it is a zombie nobody else can have its session.
                processes.kill_session(pid)
            self._ended(pid, os.waitpid(pid, 0)[1])

    def _ended(self, pid: int, status: int) -> None:
        job = self._children.pop(pid, None)
        if job is None:
            if self._launches:
                # A child may end before the message with its number was read.
                self._strays[pid] = status
            return
        code = os.waitstatus_to_exitcode(status)
        code = 128 - code if code < 0 else code
        if isinstance(job, Exec):
            self._server.answer(job.connection, "exit", str(code))
            return
        out_of_memory = code == 128 + processes.KILL and job.cgroup and self._cgroups.oom_kills(job.cgroup)
        self._finish(job, code, "OOMKilled" if out_of_memory else "Error" if code else "Completed", "")

    def _finish(self, container: Container, code: int, reason: str, message: str) -> None:
        """Write down the end of a container, then tell of it."""
        if container.finished_ns:
            return
        if container.pid:
            self._kill_left(container)
        container.deadline_ns = 0
        if container.output is not None:
            container.output.close()
            container.output = None
        container.finished_ns = time.time_ns()
        container.code, container.reason, container.message = code, reason, message
        container.is_recorded = False
        self._record_late()
        self._server.tell(container.state())
        for connection in container.waiting:
            self._server.answer(connection, *container.state())
        container.waiting.clear()

    def _record_late(self) -> None:
        """Write down ends; with a full disk they are known to the living only, and tried again."""
        for container in self._containers.values():
            if container.is_recorded:
                continue
            try:
                container.record_end()
            except OSError as error:
                self._say(f"end not written down container={container.id} error={error.strerror}")

    def _cut_logs(self) -> None:
        for container in self._containers.values():
            if container.output is not None:
                container.output.cut()

    # Recovery

    def _recover(self, folder: str) -> None:
        """Take over one container from the files of an earlier supervisor."""
        try:
            found = load(folder)
        except ValueError as error:
            self._say(f"container not readable folder={folder} error={error}")
            return
        if found is None:
            return
        container, boot_id = found
        self._containers[container.id] = container
        if container.finished_ns:
            return
        container.is_adopted = not processes.is_child(container.pid)
        is_same = not container.is_adopted or processes.start_ticks(container.pid) == container.ticks
        if boot_id != self._boot_id or not is_same:
            message = GONE if boot_id == self._boot_id else "the machine was restarted"
            self._finish(container, UNKNOWN_EXIT_CODE, "Unknown", message)
            return
        self._say(f"container taken over id={container.id} pid={container.pid}")
        self._children[container.pid] = container
        container.output = Output(self._loop, folder, container.log_path, self._say)
        try:
            container.output.open()
        except OSError as error:
            self._say(f"output lost container={container.id} error={error}")
        self._await_end(container.pid)

    def _sleep_ms(self) -> int:
        deadlines = [one.deadline_ns for one in self._containers.values() if one.deadline_ns and one.pid]
        if not deadlines:
            return MAX_SLEEP_MS
        left_ms = (min(deadlines) - time.monotonic_ns() + 999_999) // 1_000_000
        return min(max(left_ms, 0), MAX_SLEEP_MS)
