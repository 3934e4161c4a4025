"""The errors of the API: each constructor returns an ApiError with a real server's reason, code and words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from kubeedge.kube.api import ApiError, Kind


class Cause(NamedTuple):
    """One thing wrong: reason is `FieldValueInvalid`, …; field is a path like `spec.ports[0].name`."""

    reason: str
    message: str
    field: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def status(code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> ApiError:
    """An ApiError that carries a Status of kind Failure; details None leaves the field out, reason "" too."""
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
    }
    if reason:
        body["reason"] = reason
    if details is not None:
        body["details"] = details
    body["code"] = code
    return ApiError(code, reason, message, orjson.dumps(body))


def success(details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The Status that answers a deletion that is done."""
    body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details is not None:
        body["details"] = details
    return body


def resource_name(kind: Kind) -> str:
    """`pods`, `deployments.apps`: how messages name a resource."""
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def kind_name(kind: Kind) -> str:
    """`Pod`, `Deployment.apps`: how messages name a kind."""
    return f"{kind.kind}.{kind.group}" if kind.group else kind.kind


def _details(kind: Kind, name: str, noun: str, **more: Any) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if kind.group:
        details["group"] = kind.group
    details["kind"] = noun
    details.update(more)
    return details


def not_found(kind: Kind, name: str) -> ApiError:
    return status(404, "NotFound", f'{resource_name(kind)} "{name}" not found', _details(kind, name, kind.plural))


def no_such_resource() -> ApiError:
    """A path of a served group whose resource or version does not exist."""
    return status(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(kind: Kind, name: str) -> ApiError:
    return status(
        409, "AlreadyExists", f'{resource_name(kind)} "{name}" already exists', _details(kind, name, kind.plural)
    )


OBJECT_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(kind: Kind, name: str, why: str = OBJECT_MODIFIED) -> ApiError:
    return status(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {resource_name(kind)} "{name}": {why}',
        _details(kind, name, kind.plural),
    )


def invalid(kind: Kind, name: str, causes: Sequence[Cause], *, noun: str = "") -> ApiError:
    """422 with every cause; noun replaces the kind's name where a real server names something else."""
    problems = list(dict.fromkeys(map(str, causes)))
    text = f"[{', '.join(problems)}]" if len(problems) > 1 else "".join(problems)
    who = noun or kind.kind
    qualified = f"{who}.{kind.group}" if kind.group else who
    return status(
        422,
        "Invalid",
        f'{qualified} "{name}" is invalid: {text}' if text else f'{qualified} "{name}" is invalid',
        _details(
            kind,
            name,
            who,
            causes=[{"reason": c.reason, "message": c.message, "field": c.field} for c in causes],
        ),
    )


def invalid_options(options: str, causes: Sequence[Cause]) -> ApiError:
    """422 about CreateOptions, DeleteOptions, ListOptions, … of meta.k8s.io."""
    return invalid(Kind("meta.k8s.io", "v1", options, options, False), "", causes)


def bad_request(message: str) -> ApiError:
    return status(400, "BadRequest", message)


def forbidden(kind: Kind, name: str, why: str) -> ApiError:
    """why is `User "jane" cannot list resource …` or the refusal of an admission check."""
    who = f'{resource_name(kind)} "{name}"' if name else resource_name(kind)
    return status(403, "Forbidden", f"{who} is forbidden: {why}", _details(kind, name, kind.plural))


def unauthorized() -> ApiError:
    return status(401, "Unauthorized", "Unauthorized")


def expired(message: str) -> ApiError:
    """410 for a resource version or continue token that is gone from history."""
    return status(410, "Expired", message)


def method_not_allowed() -> ApiError:
    return status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def unsupported_media_type(accepted: Iterable[str]) -> ApiError:
    return status(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted),
    )


def not_acceptable(available: Iterable[str]) -> ApiError:
    return status(
        406,
        "NotAcceptable",
        "406: Not Acceptable\n\nAvailable representations: " + ", ".join(available),
        {},
    )


def request_entity_too_large(message: str) -> ApiError:
    return status(413, "RequestEntityTooLarge", message)


def timeout(message: str, retry_after_s: int = 0) -> ApiError:
    details = {"retryAfterSeconds": retry_after_s} if retry_after_s else {}
    return status(504, "Timeout", f"Timeout: {message}", details)


def too_many_requests(message: str, retry_after_s: int = 0) -> ApiError:
    details = {"retryAfterSeconds": retry_after_s} if retry_after_s else None
    return status(429, "TooManyRequests", message, details)


def internal_error(message: str) -> ApiError:
    """500 with the cause that a real server adds for an unforeseen error."""
    return status(500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]})


def plain_error(message: str) -> ApiError:
    """500 without a reason: errors that a real server passes through unwrapped."""
    return status(500, "", message)
