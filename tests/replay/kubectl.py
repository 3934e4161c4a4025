"""Recorded invocations of kubectl (tests/golden/kubectl.txt), and what of their output counts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

GOLDEN = Path(__file__).parents[1] / "golden" / "kubectl.txt"


class Invocation(NamedTuple):
    """A command without the word kubectl, what it printed, what it complained about, and its exit code."""

    index: int
    command: str
    out: str
    err: str
    code: int

    def __str__(self) -> str:
        return f"{self.index} kubectl {self.command}"


def invocations() -> Iterator[Invocation]:
    """The recorded invocations in order."""
    blocks = re.split(r"^\$ kubectl ", GOLDEN.read_text(), flags=re.MULTILINE)[1:]
    for index, block in enumerate(blocks):
        command, *lines = block.rstrip("\n").split("\n")
        out = [line for line in lines if not re.match(r"[#!=] ", line) and line not in ("#", "!")]
        err = [line[2:] for line in lines if line.startswith("! ")]
        code = next(int(line[2:]) for line in reversed(lines) if re.fullmatch(r"= \d+", line))
        yield Invocation(index, command, "\n".join(out), "\n".join(err), code)


# (pattern, what it becomes): names, ages, ids and details of the node are other ones in each run.
_MASKS = (
    (r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", "UID"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", "TIME"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \+\d{4}", "TIME"),
    (r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+\d{4}", "TIME"),
    (r"\bweb-[a-z0-9]{8,10}-[a-z0-9]{5}\b", "web-HASH-XXXXX"),
    (r"\bweb-[a-z0-9]{8,10}\b", "web-HASH"),
    (r"\bweb-[a-z0-9]{5}\b", "web-XXXXX"),
    (r"pod-template-hash=[a-z0-9]+", "pod-template-hash=HASH"),
    (r"kube-api-access-[a-z0-9]{5}", "kube-api-access-XXXXX"),
    (r"\b10\.(?:\d+\.){2}\d+", "ADDRESS"),
    (r"127\.0\.0\.1:\d+", "SERVER"),
    (r"X509SHA256=[0-9a-f]{64}", "FINGERPRINT"),
    (r"/tmp/(LIVE|MERGED)-\d+", r"/tmp/\1"),
    (r'resourceVersion: "\d+"', "resourceVersion: N"),
    (r"containerd://[0-9a-f]{64}", "containerd://ID"),
    (r"(?<![\w.])(?:\d+[smhd]){1,2}(?: \(x\d+ over \d+[smh]\))?(?![\w.])", "AGE"),
    (r"-{4,}", "----"),
)


def lines(text: str) -> list[str]:
    """The lines of an output without what differs from run to run; columns are one space apart."""
    for pattern, mask in _MASKS:
        text = re.sub(pattern, mask, text)
    return [re.sub(r"\s+", " ", line).strip() for line in text.strip().split("\n")]
