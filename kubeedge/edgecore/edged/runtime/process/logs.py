"""The log format of CRI: `<RFC3339Nano> stdout|stderr F|P <text>`, one line of output a line (spec 05 §5.11)."""

from __future__ import annotations

import time

# A longer line of output is written in pieces tagged P, as containerd and CRI-O do by default.
MAX_TEXT_BYTES = 16384


class LogStream:
    """Turns the bytes that a container writes into log lines. Keeps at most MAX_TEXT_BYTES of an unfinished line."""

    __slots__ = ("_name", "_pending")

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._pending = b""

    def feed(self, data: bytes, now_ns: int) -> bytes:
        """Take output and return the log lines that it completes; empty when it completes none."""
        heads = self._heads(now_ns)
        if len(data) <= MAX_TEXT_BYTES:
            return self._feed(data, *heads)
        pieces = (data[at : at + MAX_TEXT_BYTES] for at in range(0, len(data), MAX_TEXT_BYTES))
        return b"".join(self._feed(piece, *heads) for piece in pieces)

    def _feed(self, piece: bytes, full: bytes, partial: bytes) -> bytes:
        """Feed at most MAX_TEXT_BYTES, so that only the first line can be too long, and by one cut short enough.

        No list of lines is made: replace() does not leave the memory of 9,000 small objects behind.
        """
        text = self._pending + piece
        end = text.find(b"\n")
        begun = b""
        if len(text) > MAX_TEXT_BYTES and not 0 <= end <= MAX_TEXT_BYTES:
            begun = b"".join((partial, text[:MAX_TEXT_BYTES], b"\n"))
            text = text[MAX_TEXT_BYTES:]
        last = text.rfind(b"\n")
        self._pending = text[last + 1 :]
        if last < 0:
            return begun
        return b"".join((begun, full, text[:last].replace(b"\n", b"\n" + full), b"\n"))

    def cut(self, now_ns: int) -> bytes:
        """Return what is left as a partial line: the rest of it will be read by another process."""
        if not self._pending:
            return b""
        rest, self._pending = self._pending, b""
        return b"".join((self._heads(now_ns)[1], rest, b"\n"))

    def close(self, now_ns: int) -> bytes:
        """Return what is left as a last full line, as containerd does at the end of the output."""
        if not self._pending:
            return b""
        rest, self._pending = self._pending, b""
        return b"".join((self._heads(now_ns)[0], rest, b"\n"))

    def _heads(self, now_ns: int) -> tuple[bytes, bytes]:
        stamp = timestamp(now_ns).encode()
        return b"%s %s F " % (stamp, self._name), b"%s %s P " % (stamp, self._name)


def timestamp(now_ns: int) -> str:
    """Return Unix time in nanoseconds as RFC 3339 in UTC with nine decimals."""
    seconds, fraction = divmod(now_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"
