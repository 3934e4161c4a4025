"""Reports of older edges and of keadm about node jobs, on their way to the job manager (spec 02 §1.3)."""

from __future__ import annotations

from typing import Any

import orjson

from kubeedge.message import Message, new_message

RESPONSE_FIELDS = ("NodeName", "State", "Event", "Action", "Reason", "Time", "ExternalMessage")

# Event and action of a finished upgrade, by its status.
_UPGRADE_RESULTS = {
    "upgrade_failed_rollback_success": ("Rollback", "Success"),
    "upgrade_failed_rollback_failed": ("Rollback", "Failure"),
}


class ReportError(ValueError):
    """A report that is no JSON object with texts."""


def task_status(task_type: str, task: str, node: str, body: bytes) -> Message:
    """Turn the body of `/task/{type}/name/{task}/node/{node}/status` into the message for module `taskmanager`.

    Raises ReportError.
    """
    given = _fields(body)
    return _message(task_type, task, node, {name: given.get(name.lower(), "") for name in RESPONSE_FIELDS})


def upgrade_result(body: bytes) -> tuple[str, Message]:
    """Turn the body of `/nodeupgrade` into the node that it names and the message. Raises ReportError."""
    given = _fields(body)
    node = given.get("nodename", "")
    event, action = _UPGRADE_RESULTS.get(given.get("status", ""), ("Upgrade", "Success"))
    response = dict.fromkeys(RESPONSE_FIELDS, "") | {
        "NodeName": node,
        "Event": event,
        "Action": action,
        "Reason": given.get("reason", ""),
    }
    return node, _message("upgrade", given.get("upgradeid", ""), node, response)


def _message(task_type: str, task: str, node: str, response: dict[str, str]) -> Message:
    return new_message("cloudhub", "cloudhub", task_type, f"task/{task}/node/{node}", orjson.dumps(response))


def _fields(body: bytes) -> dict[str, str]:
    """Return the texts of a report by lower-case name, as Go matches them."""
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ReportError(str(error)) from None
    if not isinstance(document, dict):
        raise ReportError("it is no JSON object")
    fields = {key.lower(): value for key, value in document.items() if value is not None}
    for key, value in fields.items():
        if key in _KNOWN and not isinstance(value, str):
            raise ReportError(f"{key} must be a string")
    return fields


_KNOWN = frozenset(name.lower() for name in (*RESPONSE_FIELDS, "UpgradeID", "HistoryID", "Status"))
