"""What edgecore and the supervisor of its containers have to agree on, so that neither has to load the other."""

from __future__ import annotations

SOCKET = "supervisor.sock"
LOG = "supervisor.log"
# In the folder of a container: what its launch does, in marshal format.
PLAN = "plan"
# The variable by which processes of a container without a PID namespace are found when they leave its session.
MARK = "KUBEEDGE_CONTAINER_ID"


def command_line(python: str, path: str, root: str) -> list[str]:
    """Return the command that runs a supervisor: isolated, without site packages, the least that Python needs."""
    code = f"import sys; sys.path.insert(0, sys.argv[1]); from {__package__}.program import main; main(sys.argv[2:])"
    return [python, "-I", "-S", "-E", "-c", code, path, root]
