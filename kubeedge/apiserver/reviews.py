"""Questions to the API about itself: who am I, whose token is this, may somebody do something. Nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kubeedge.apiserver import status
from kubeedge.apiserver.authentication import AUTHENTICATED, User, token_user
from kubeedge.apiserver.authorization import DISCOVERY_PATHS, KEY_PATHS, PUBLIC_PATHS, Attributes, Authorizer
from kubeedge.apiserver.kinds.spec import KindSpec
from kubeedge.apiserver.representation import Answer
from kubeedge.apiserver.status import Cause
from kubeedge.apiserver.tokens import AUDIENCE, InvalidTokenError, Tokens
from kubeedge.kube.instants import timestamp

Document = dict[str, Any]

_ANYTHING = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
_SELF_ACCESS = {
    "verbs": ["create"],
    "apiGroups": ["authorization.k8s.io"],
    "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
}
_SELF = {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]}


class Reviews:
    """Answers what is posted to a review kind."""

    def __init__(self, authorizer: Authorizer, tokens: Tokens | None) -> None:
        self._authorizer = authorizer
        self._tokens = tokens

    def answer(self, spec: KindSpec, namespace: str, document: Document, user: User) -> Answer:
        """Return the review posted with its status. Raises ApiError 422."""
        spec_sent: Document = document.get("spec") or {}
        review: Document = {
            "kind": spec.kind.kind,
            "apiVersion": spec.kind.api_version,
            "metadata": {},
            "spec": spec_sent,
        }
        match spec.kind.kind:
            case "SelfSubjectReview":
                review["metadata"] = {"creationTimestamp": timestamp(self._authorizer.storage.now_s())}
                review.pop("spec")
                review["status"] = {"userInfo": user.info()}
            case "TokenReview":
                review["status"] = self._token(review["spec"])
            case "SelfSubjectRulesReview":
                review["spec"] = {}
                review["status"] = _rules(user)
            case "SelfSubjectAccessReview":
                review["status"] = self._access(spec, review["spec"], user, "")
            case _:
                asked = User(review["spec"].get("user", ""), tuple(review["spec"].get("groups") or ()))
                if not asked.name and not asked.groups:
                    why = "Required value: at least one of user or group must be specified"
                    raise status.invalid(spec.kind, "", [Cause("FieldValueRequired", why, "spec.user")])
                review["status"] = self._access(spec, review["spec"], asked, namespace)
        return Answer(201, None, None, review)

    def _access(self, kind: KindSpec, spec: Document, user: User, namespace: str) -> Document:
        resource: Document = spec.get("resourceAttributes") or {}
        path: Document = spec.get("nonResourceAttributes") or {}
        if bool(resource) == bool(path):
            why = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
            raise status.invalid(kind.kind, "", [Cause("FieldValueInvalid", why, "spec.resourceAttributes")])
        if path:
            asked = Attributes(path.get("verb", ""), path=path.get("path", ""))
        else:
            asked = Attributes(
                verb=resource.get("verb", ""),
                group=resource.get("group", ""),
                resource=resource.get("resource", ""),
                subresource=resource.get("subresource", ""),
                namespace=namespace or resource.get("namespace", ""),
                name=resource.get("name", ""),
                field_selector=(resource.get("fieldSelector") or {}).get("rawSelector", ""),
            )
        decision = self._authorizer.decide(user, asked)
        answer: Document = {"allowed": decision.allowed}
        if decision.reason:
            answer["reason"] = decision.reason
        return answer

    def _token(self, spec: Document) -> Document:
        audiences = spec.get("audiences") or [AUDIENCE]
        try:
            if self._tokens is None:
                raise InvalidTokenError("invalid bearer token")
            token = self._tokens.verify(spec.get("token", ""), audiences)
        except InvalidTokenError as error:
            return {"user": {}, "error": str(error) or "invalid bearer token"}
        return {"authenticated": True, "user": token_user(token).info(), "audiences": list(token.audiences)}


def _rules(user: User) -> Document:
    resources: list[Document] = [_ANYTHING] if user.is_master else []
    paths: list[Document] = []
    if AUTHENTICATED in user.groups:
        resources += [_SELF_ACCESS, _SELF]
        paths += [_paths(sorted((*_with_below(DISCOVERY_PATHS), *PUBLIC_PATHS))), _paths(PUBLIC_PATHS)]
    if user.is_master:
        paths.append({"verbs": ["*"], "nonResourceURLs": ["*"]})
    if AUTHENTICATED in user.groups:
        paths.append(_paths(_with_below(KEY_PATHS)))
    return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}


def _with_below(paths: Sequence[str]) -> list[str]:
    return [url for path in paths for url in (path, f"{path}/*")]


def _paths(urls: Sequence[str]) -> Document:
    return {"verbs": ["get"], "nonResourceURLs": list(urls)}
