"""The supervisor: parent of all container processes, keeper of their logs and exit codes.

One process for all containers, started by the runtime and never stopped by it: containers outlive edgecore. It is
asked over a Unix socket of type SEQPACKET, one request a connection, fields separated by NUL:

    watch                                   hello, a state for every container, synced; then a state at each change
    start <id> <sandbox> <log> <cgroup> <tty>   its state; when it cannot start: exited, StartError and a text
    stop <id> <milliseconds>                its state when it has ended
    exec <id> <argument>...  + 2 descriptors    exit <code> | error <text>; closing the connection kills the command
    log <id>                                ok; opens the log file anew, after a rotation
    forget <id>                             ok; its folder may be removed
    renew <python> <path>                   replaces the supervisor by that of another version, in place
    quit                                    ok; ends the supervisor, containers run on
    destroy                                 ok when all containers are killed; ends the supervisor

It keeps two small files in each container's folder: `started` and `exited`, written before anybody is told. A
supervisor that comes after one that died takes the running containers over: their output goes through named pipes
that they hold open themselves, so they do not notice; only an exit code that nobody waited for is lost.

What is imported here stays in memory on every node, so it is little: `socket` and `signal` alone would add 1.1 MB,
hence `_socket`, and pidfds (Linux 5.3) in place of SIGCHLD.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import select
import sys
import time

from kubeedge import __version__
from kubeedge.edgecore.edged.runtime.process import cgroups, features, kernel, launch, logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

SOCKET = "supervisor.sock"
LOCK = "supervisor.lock"
LOG = "supervisor.log"

BACKLOG = 128
MAX_REQUEST_BYTES = 160 * 1024
MAX_UNSENT = 10_000
READ_BYTES = 65536
MAX_OWN_LOG_BYTES = 256 * 1024
# The longest sleep; orphans that nobody waits for are reaped at least this often.
MAX_SLEEP_MS = 30_000

# What a container is given for an exit that nobody saw, as containerd does.
UNKNOWN_EXIT_CODE = 255
START_ERROR_CODE = 128
# How many fields follow the word of a request; exec has any number.
_FIELDS = {"watch": 0, "start": 5, "stop": 2, "log": 1, "forget": 1, "renew": 2, "quit": 0, "destroy": 0}
_TERM = 15
_KILL = 9


class Container:
    """A container that was started, and may have ended."""

    __slots__ = (
        *("cgroup", "code", "deadline_ns", "finished_ns", "folder", "id", "is_namespaced", "log_fd", "log_path"),
        *("message", "pid", "reason", "sandbox", "started_ns", "streams", "terminal", "ticks", "waiting"),
    )

    def __init__(self, folder: str, sandbox: str, log_path: str, cgroup: str) -> None:
        self.folder = folder
        self.id = os.path.basename(folder)
        self.sandbox = sandbox
        self.log_path = log_path
        self.cgroup = cgroup
        self.pid = 0
        self.ticks = 0
        self.is_namespaced = False
        self.started_ns = 0
        self.finished_ns = 0
        self.code = 0
        self.reason = ""
        self.message = ""
        self.deadline_ns = 0
        self.waiting: list[Connection] = []
        self.terminal = -1
        self.log_fd = -1
        self.streams: dict[int, logs.LogStream] = {}

    def is_running(self) -> bool:
        """Tell whether its main process lives."""
        return self.pid > 0 and not self.finished_ns

    def state(self) -> list[str]:
        """Return the fields of the message that tells of it."""
        if not self.finished_ns:
            return ["state", self.id, "running", str(self.started_ns), "0", str(self.pid), "", ""]
        times = (str(self.started_ns), str(self.finished_ns))
        return ["state", self.id, "exited", *times, str(self.code), self.reason, self.message]


class Exec:
    """A command that runs in a container for a connection."""

    __slots__ = ("connection", "pid")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.pid = 0


class Connection:
    """One request of the runtime."""

    __slots__ = ("job", "socket", "unsent")

    def __init__(self, socket: _socket.socket) -> None:
        self.socket = socket
        self.job: Exec | None = None
        self.unsent: list[bytes] = []


class Launch:
    """A child on its way to become a command; error is what it said went wrong."""

    __slots__ = ("channel", "connection", "error", "job")

    def __init__(self, channel: _socket.socket, job: Container | Exec, connection: Connection) -> None:
        self.channel = channel
        self.job = job
        self.connection = connection
        self.error = ""


class Supervisor:
    """Serves requests and keeps containers, in one thread, with blocking calls only where they are short."""

    def __init__(self, root: str, lock: int) -> None:
        self._root = root
        self._lock = lock
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._containers: dict[str, Container] = {}
        self._children: dict[int, Container | Exec] = {}
        self._strays: dict[int, int] = {}
        self._launches: set[Launch] = set()
        self._watchers: list[Connection] = []
        self._destroyer: Connection | None = None
        self._cgroups = cgroups.find()
        self._features: list[str] = []
        self._boot_id = _read("/proc/sys/kernel/random/boot_id").strip()

    def start(self) -> None:
        """Take over what runs, then listen. Raises OSError."""
        trial = f"{self._root}/trial"
        os.makedirs(trial, exist_ok=True)
        self._features = features.find(trial)
        kernel.become_subreaper()
        self._cgroups.leave_service(_read("/proc/self/cgroup"))
        for name in sorted(os.listdir(f"{self._root}/containers")):
            self._recover(f"{self._root}/containers/{name}")
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_NONBLOCK)
        address = f"{self._root}/{SOCKET}"
        if os.path.lexists(address):
            os.unlink(address)
        # A path of any length fits into an address this way (sun_path has 108 bytes).
        folder = os.open(self._root, os.O_PATH | os.O_DIRECTORY)
        mask = os.umask(0o177)
        listener.bind(f"/proc/self/fd/{folder}/{SOCKET}")
        os.umask(mask)
        os.close(folder)
        listener.listen(BACKLOG)
        self._add(listener.fileno(), lambda: self._accept(listener))

    def serve(self) -> NoReturn:
        """Serve until killed or told to quit."""
        while True:
            for fd, _ in self._poll.poll(self._sleep_ms()):
                handler = self._handlers.get(fd)
                if handler is not None:
                    handler()
            self._reap()
            self._kill_late()
            if self._destroyer is not None:
                self._leave_when_empty(self._destroyer)
            for watcher in [watcher for watcher in self._watchers if watcher.unsent]:
                self._flush(watcher)

    def _leave_when_empty(self, asker: Connection) -> None:
        if any(not container.finished_ns for container in self._containers.values()):
            return
        for name in list(self._containers):
            self._forget(name)
        self._answer(asker, "ok")
        sys.exit(0)

    def _add(self, fd: int, handler: Callable[[], None]) -> None:
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLIN)

    def _remove(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    # Requests

    def _accept(self, listener: _socket.socket) -> None:
        try:
            fd, _ = listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        os.set_blocking(fd, False)
        connection = Connection(_socket.socket(fileno=fd))
        self._add(fd, lambda: self._receive(connection))

    def _receive(self, connection: Connection) -> None:
        descriptors: list[int] = []
        try:
            packet, ancillary, flags, _ = connection.socket.recvmsg(
                MAX_REQUEST_BYTES, _socket.CMSG_SPACE(8), _socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            packet, ancillary, flags = b"", [], 0
        for level, kind, data in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                descriptors += (int.from_bytes(data[at : at + 4], sys.byteorder) for at in range(0, len(data), 4))
        try:
            if not packet:
                self._close(connection)
            elif flags & _socket.MSG_TRUNC:
                self._answer(connection, "error", "request is too long")
            else:
                self._handle(connection, packet.decode("utf-8", "surrogateescape").split("\0"), descriptors)
        except (ValueError, LookupError) as error:
            self._answer(connection, "error", f"bad request: {error}")
        except OSError as error:
            _log(f"request failed error={error}")
            self._answer(connection, "error", str(error))
        finally:
            for fd in descriptors:
                os.close(fd)

    def _handle(self, connection: Connection, request: list[str], descriptors: list[int]) -> None:
        word, *fields = request
        if len(fields) != _FIELDS.get(word, len(fields)) or len(descriptors) != (2 if word == "exec" else 0):
            raise ValueError(f"{word} with {len(fields)} fields and {len(descriptors)} descriptors")
        if word == "watch":
            self._watch(connection)
        elif word == "start":
            self._start(connection, *fields)
        elif word == "stop":
            self._stop(connection, fields[0], int(fields[1]))
        elif word == "exec":
            self._exec(connection, fields[0], fields[1:], *descriptors)
        elif word == "log":
            self._open_log(self._containers[fields[0]])
            self._answer(connection, "ok")
        elif word == "forget":
            self._forget(fields[0])
            self._answer(connection, "ok")
        elif word == "renew":
            self._renew(connection, *fields)
        elif word == "quit":
            self._answer(connection, "ok")
            self._cut_logs()
            sys.exit(0)
        elif word == "destroy":
            self._destroyer = connection
            for container in self._containers.values():
                if container.is_running():
                    self._kill_all(container)
        else:
            self._answer(connection, "error", f"unknown request {word}")

    def _answer(self, connection: Connection, *fields: str) -> None:
        if connection.socket.fileno() < 0:
            return  # its end was the reason for what happened
        try:
            connection.socket.send(_packet(fields))
        except OSError as error:
            _log(f"answer not sent error={error.strerror}")
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        fd = connection.socket.fileno()
        if fd < 0:
            return
        self._remove(fd)
        connection.socket.close()
        if connection in self._watchers:
            self._watchers.remove(connection)
        if connection.job is not None and connection.job.pid in self._children:
            _kill_session(connection.job.pid)

    def _watch(self, connection: Connection) -> None:
        hello = ["hello", __version__, str(os.getpid()), " ".join(self._features)]
        known = (container.state() for container in self._containers.values() if container.pid or container.finished_ns)
        connection.unsent = [_packet(fields) for fields in (hello, *known, ["synced"])]
        self._watchers.append(connection)

    def _tell(self, container: Container) -> None:
        for watcher in self._watchers:
            watcher.unsent.append(_packet(container.state()))

    def _flush(self, watcher: Connection) -> None:
        """Send what fits; whoever lets it pile up is left, connects again and gets a snapshot."""
        fd = watcher.socket.fileno()
        try:
            for _ in range(len(watcher.unsent)):
                watcher.socket.send(watcher.unsent[0])
                del watcher.unsent[0]
        except BlockingIOError:
            if len(watcher.unsent) > MAX_UNSENT:
                self._close(watcher)
            else:
                self._poll.modify(fd, select.POLLIN | select.POLLOUT)
        except OSError:
            self._close(watcher)
        else:
            self._poll.modify(fd, select.POLLIN)

    def _renew(self, connection: Connection, python: str, path: str) -> None:
        """Become another version by execve: the process stays the same, so its children stay its children."""
        if self._launches or any(isinstance(job, Exec) for job in self._children.values()):
            self._answer(connection, "error", "busy")
            return
        _log(f"renewed version={__version__}")
        self._answer(connection, "ok")
        self._cut_logs()
        # The lock goes along, or the runtime would start another supervisor in the meantime.
        os.set_inheritable(self._lock, True)
        os.execv(python, [*command_line(python, path, self._root), str(self._lock)])

    # Containers

    def _start(self, connection: Connection, name: str, sandbox: str, log_path: str, cgroup: str, tty: str) -> None:
        if name in self._containers:
            raise ValueError(f"{name} was started before")
        container = Container(f"{self._root}/containers/{name}", sandbox, log_path, cgroup)
        for pipe in ("stdin", "stdout", "stderr"):
            if not os.path.exists(f"{container.folder}/{pipe}"):
                os.mkfifo(f"{container.folder}/{pipe}", 0o600)
        self._open_log(container)
        terminal = -1
        if tty == "tty":
            container.terminal, terminal = os.openpty()
        siblings = (other for other in self._containers.values() if other.sandbox == sandbox and other.is_running())
        sibling = next((other.pid for other in siblings), 0)
        self._containers[name] = container
        self._open_streams(container)
        self._launch(
            container, connection, lambda channel: launch.container(container.folder, sibling, terminal, channel)
        )
        if terminal >= 0:
            os.close(terminal)

    def _exec(self, connection: Connection, name: str, argv: list[str], stdout: int, stderr: int) -> None:
        container = self._containers[name]
        if not argv or not container.is_running():
            self._answer(connection, "error", "container is not running" if argv else "bad request: no command")
            return
        job = connection.job = Exec(connection)
        folder, target = container.folder, container.pid
        self._launch(job, connection, lambda channel: launch.command(folder, target, argv, stdout, stderr, channel))

    def _launch(self, job: Container | Exec, connection: Connection, become: Callable[[int], NoReturn]) -> None:
        channel, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        child = os.fork()
        if not child:
            channel.close()
            try:
                become(theirs.fileno())
            finally:
                os._exit(128)
        theirs.close()
        channel.setblocking(False)
        started = Launch(channel, job, connection)
        self._launches.add(started)
        self._await_end(child)
        self._add(channel.fileno(), lambda: self._launched(started))

    def _launched(self, started: Launch) -> None:
        """Take what a child says, until it has become the command or given up."""
        while True:
            try:
                packet = started.channel.recv(MAX_REQUEST_BYTES)
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
        self._remove(started.channel.fileno())
        started.channel.close()
        self._launches.discard(started)
        job = started.job
        if not job.pid and not started.error:
            started.error = "the launcher was killed"
        if isinstance(job, Exec):
            if started.error:
                self._children.pop(job.pid, None)
                self._answer(started.connection, "error", started.error)
        elif started.error:
            self._children.pop(job.pid, None)
            self._finish(job, START_ERROR_CODE, "StartError", started.error)
            self._answer(started.connection, *job.state())
        else:
            self._tell(job)
            self._answer(started.connection, *job.state())
        self._settle_strays()

    def _know_pid(self, started: Launch, pid: int) -> None:
        job = started.job
        job.pid = pid
        self._children[pid] = job
        self._await_end(pid)
        if isinstance(job, Container):
            job.ticks = _start_ticks(pid)
            job.started_ns = time.time_ns()
            self._record_start(job)
            started.channel.send(b"g")

    def _record_start(self, container: Container) -> None:
        container.is_namespaced = _namespace(container.pid, "pid") != _namespace(os.getpid(), "pid")
        fields = (
            *(container.pid, container.ticks, self._boot_id, container.started_ns, container.sandbox),
            *(container.log_path, container.cgroup, int(container.is_namespaced)),
        )
        _write_durably(f"{container.folder}/started", "\n".join(map(str, fields)))

    def _stop(self, connection: Connection, name: str, grace_ms: int) -> None:
        container = self._containers[name]
        if not container.is_running():
            self._answer(connection, *container.state())
            return
        now = time.monotonic_ns()
        deadline = now + grace_ms * 1_000_000
        container.deadline_ns = min(container.deadline_ns or deadline, deadline)
        container.waiting.append(connection)
        if grace_ms:
            _kill(container.pid, _TERM)

    def _kill_late(self) -> None:
        now = time.monotonic_ns()
        for container in self._containers.values():
            if container.deadline_ns and container.deadline_ns <= now:
                container.deadline_ns = 0
                self._kill_all(container)

    def _kill_all(self, container: Container) -> None:
        """Kill every process of a running container; a PID namespace ends with its first process."""
        _kill_session(container.pid)
        self._kill_left(container)

    def _kill_left(self, container: Container) -> None:
        """Kill what a container without a PID namespace leaves behind when its main process ends."""
        if container.is_namespaced:
            return
        for pid in self._cgroups.processes(container.cgroup) if container.cgroup else ():
            _kill(pid, _KILL)
        for pid in _marked_processes(container.id):
            _kill(pid, _KILL)

    def _forget(self, name: str) -> None:
        container = self._containers.get(name)
        if container is None:
            return
        if not container.finished_ns:
            raise ValueError("container is running")
        if container.cgroup:
            self._cgroups.remove(container.cgroup)
        del self._containers[name]

    # Ends

    def _await_end(self, pid: int) -> None:
        """Wake up when the process ends."""
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return

        def wake() -> None:
            self._remove(fd)
            os.close(fd)
            job = self._children.get(pid)
            if isinstance(job, Container) and not _is_child(pid):
                del self._children[pid]
                self._finish(job, UNKNOWN_EXIT_CODE, "Unknown", "its exit code went to a supervisor that is gone")

        self._add(fd, wake)

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
                self._launched(started)  # its last words come before its end
            if isinstance(job, Container):
                # Before its number is free: as long as it is a zombie nobody else can have its session.
                _kill_session(pid)
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
            self._answer(job.connection, "exit", str(code))
            return
        out_of_memory = code == 128 + _KILL and job.cgroup and self._cgroups.oom_kills(job.cgroup)
        self._finish(job, code, "OOMKilled" if out_of_memory else "Error" if code else "Completed", "")

    def _settle_strays(self) -> None:
        for pid in [pid for pid in self._strays if pid in self._children]:
            self._ended(pid, self._strays.pop(pid))
        if not self._launches:
            self._strays.clear()

    def _finish(self, container: Container, code: int, reason: str, message: str) -> None:
        """Write down the end of a container, then tell of it."""
        if container.finished_ns:
            return
        if container.pid:
            self._kill_left(container)
        container.deadline_ns = 0
        for fd, stream in list(container.streams.items()):
            while self._copy(container, fd, stream):
                pass
            self._write_log(container, stream.close(time.time_ns()))
            self._close_stream(container, fd)
        if container.log_fd >= 0:
            os.close(container.log_fd)
            container.log_fd = -1
        container.finished_ns = time.time_ns()
        container.code, container.reason, container.message = code, reason, message
        _write_durably(f"{container.folder}/exited", f"{container.finished_ns}\n{code}\n{reason}\n{message}")
        self._tell(container)
        for connection in container.waiting:
            self._answer(connection, *container.state())
        container.waiting.clear()

    # Output

    def _open_log(self, container: Container) -> None:
        if container.log_fd >= 0:
            os.close(container.log_fd)
            container.log_fd = -1
        if container.log_path and not container.finished_ns:
            container.log_fd = os.open(container.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def _open_streams(self, container: Container) -> None:
        if container.terminal >= 0:
            os.set_blocking(container.terminal, False)
            sources = {container.terminal: "stdout"}
        else:
            flags = os.O_RDONLY | os.O_NONBLOCK
            sources = {os.open(f"{container.folder}/{name}", flags): name for name in ("stdout", "stderr")}
        for fd, name in sources.items():
            stream = container.streams[fd] = logs.LogStream(name)
            self._add(fd, lambda fd=fd, stream=stream: self._copied(container, fd, stream))  # type: ignore[misc]

    def _copied(self, container: Container, fd: int, stream: logs.LogStream) -> None:
        if not self._copy(container, fd, stream):
            # End of file: the container closed its output, or is about to end.
            self._write_log(container, stream.close(time.time_ns()))
            self._close_stream(container, fd)

    def _copy(self, container: Container, fd: int, stream: logs.LogStream) -> bool:
        """Move output into the log; return False at its end, and when there is none left of an ended container."""
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return container.pid in self._children
        except OSError:
            data = b""  # a terminal whose other side is closed gives EIO
        self._write_log(container, stream.feed(data, time.time_ns()))
        return bool(data)

    def _write_log(self, container: Container, lines: bytes) -> None:
        view = memoryview(lines)
        while view and container.log_fd >= 0:
            try:
                view = view[os.write(container.log_fd, view) :]
            except OSError as error:
                # A full disk must not stop the container: these lines are lost, later ones may fit.
                _log(f"log lines lost container={container.id} bytes={len(view)} error={error.strerror}")
                return

    def _close_stream(self, container: Container, fd: int) -> None:
        container.streams.pop(fd, None)
        self._remove(fd)
        os.close(fd)

    def _cut_logs(self) -> None:
        for container in self._containers.values():
            for stream in container.streams.values():
                self._write_log(container, stream.cut(time.time_ns()))

    # Recovery

    def _recover(self, folder: str) -> None:
        """Take over one container from the files of an earlier supervisor."""
        started = _read(f"{folder}/started").split("\n")
        exited = _read(f"{folder}/exited").split("\n", 3)
        if len(started) == 8:
            container = Container(folder, started[4], started[5], started[6])
            container.pid, container.ticks, container.started_ns = int(started[0]), int(started[1]), int(started[3])
            container.is_namespaced = started[7] == "1"
        elif len(exited) == 4:
            container = Container(folder, "", "", "")
        else:
            return
        self._containers[container.id] = container
        if len(exited) == 4:
            container.finished_ns, container.code = int(exited[0]), int(exited[1])
            container.reason, container.message = exited[2], exited[3]
            return
        if started[2] != self._boot_id:
            self._finish(container, UNKNOWN_EXIT_CODE, "Unknown", "the machine was restarted")
            return
        is_child = _is_child(container.pid)
        if not is_child and _start_ticks(container.pid) != container.ticks:
            self._finish(container, UNKNOWN_EXIT_CODE, "Unknown", "its exit code went to a supervisor that is gone")
            return
        _log(f"container taken over id={container.id} pid={container.pid}")
        self._children[container.pid] = container
        self._open_log(container)
        self._open_streams(container)
        self._await_end(container.pid)

    def _sleep_ms(self) -> int:
        deadlines = [container.deadline_ns for container in self._containers.values() if container.deadline_ns]
        if not deadlines:
            return MAX_SLEEP_MS
        left_ms = (min(deadlines) - time.monotonic_ns() + 999_999) // 1_000_000
        return min(max(left_ms, 0), MAX_SLEEP_MS)


def command_line(python: str, path: str, root: str) -> list[str]:
    """Return the command that runs a supervisor: isolated, without site packages, the least that Python needs."""
    module = "kubeedge.edgecore.edged.runtime.process.supervisor"
    code = f"import sys; sys.path.insert(0, sys.argv[1]); from {module} import main; main(sys.argv[2:])"
    return [python, "-I", "-S", "-E", "-c", code, path, root]


def main(arguments: list[str]) -> None:
    """Run a supervisor for the folder named first; ends in the parent when it listens, with code 1 when it cannot.

    A second argument is the descriptor of the lock that the supervisor of another version held in this process.
    """
    root, *held = arguments
    if held:
        _open_own_log(f"{root}/{LOG}")
        os.set_inheritable(int(held[0]), False)
        _serve(root, int(held[0]), -1)
    ready, report = os.pipe()
    if os.fork():
        os.close(report)
        sys.exit(0 if os.read(ready, 1) else 1)
    os.close(ready)
    os.setsid()
    _run(root, report)


def _run(root: str, report: int) -> NoReturn:
    _open_own_log(f"{root}/{LOG}")
    lock = os.open(f"{root}/{LOCK}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if report >= 0:
            os.write(report, b"x")
        sys.exit(0)  # another one serves this folder
    os.chdir("/")
    _serve(root, lock, report)


def _serve(root: str, lock: int, report: int) -> NoReturn:
    supervisor = Supervisor(root, lock)
    supervisor.start()
    _log(f"supervisor started version={__version__} pid={os.getpid()}")
    if report >= 0:
        os.write(report, b"x")
        os.close(report)
    supervisor.serve()


def _open_own_log(path: str) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    if os.path.exists(path) and os.path.getsize(path) > MAX_OWN_LOG_BYTES:
        flags |= os.O_TRUNC
    fd, null = os.open(path, flags, 0o600), os.open("/dev/null", os.O_RDWR)
    for source, place in ((null, 0), (fd, 1), (fd, 2)):
        os.dup2(source, place)
    os.close(fd)
    os.close(null)


def _packet(fields: Iterable[str]) -> bytes:
    return "\0".join(fields).encode("utf-8", "surrogateescape")


def _log(text: str) -> None:
    os.write(2, f"{logs.timestamp(time.time_ns())} {text}\n".encode("utf-8", "replace"))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _write_durably(path: str, text: str) -> None:
    """Replace a file so that after a power cut it has the old or the new content."""
    draft = path + ".new"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, text.encode("utf-8", "surrogateescape"))
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(draft, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _start_ticks(pid: int) -> int:
    """Return when the process started, in clock ticks since boot: with the pid it names one process. -1: none."""
    stat = _read(f"/proc/{pid}/stat")
    # The name in parentheses may hold anything; state is the first field behind it, start time the twentieth.
    fields = stat.rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] != "Z" else -1


def _is_child(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _namespace(pid: int, name: str) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/{name}").st_ino
    except OSError:
        return 0


def _kill(pid: int, signal: int) -> None:
    try:
        os.kill(pid, signal)
    except ProcessLookupError:
        return


def _kill_session(leader: int) -> None:
    """Kill the process group that the leader of a session made, and the leader."""
    try:
        os.killpg(leader, _KILL)
    except (ProcessLookupError, PermissionError):
        _kill(leader, _KILL)


def _marked_processes(name: str) -> list[int]:
    """Find processes that left the session of a container, by the variable in their environment."""
    mark = f"{launch.MARK}={name}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    found.append(int(entry))
        except OSError:
            continue
    return found
