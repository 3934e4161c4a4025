"""Tokens of service accounts and certificate requests (spec 03 §2.8). Never logged, never kept."""

from __future__ import annotations

from typing import Any

import orjson

from kubeedge.cloudcore.edgecontroller.node import service_account_of
from kubeedge.cloudcore.edgecontroller.ownership import PodOwnership
from kubeedge.cloudcore.edgecontroller.request import BadRequestError, ForbiddenError, Request
from kubeedge.kube.api import Kind, KubeApi
from kubeedge.kube.kinds import CERTIFICATE_SIGNING_REQUEST, SERVICE_ACCOUNT
from kubeedge.kube.object import Object
from kubeedge.message import Message

TOKEN_REQUEST = Kind("authentication.k8s.io", "v1", "tokenrequests", "TokenRequest", True)
EMPTY_SIGNING_REQUEST = b'{"metadata":{"creationTimestamp":null},"spec":{"request":null,"signerName":""},"status":{}}'


class IdentityRequests:
    """Makes the API calls of a node for identities: of its pods, and of itself."""

    def __init__(self, api: KubeApi, pods: PodOwnership) -> None:
        self._api = api
        self._pods = pods

    async def token(self, request: Request, as_node: str) -> Message:
        """Answer with a token of the service account, bound to a pod of the sender that runs as it."""
        asked = {**request.data(), "kind": TOKEN_REQUEST.kind, "apiVersion": TOKEN_REQUEST.api_version}
        await self._require_pod(request, asked.get("spec"), as_node)
        body = orjson.dumps(asked)
        raw = await self._api.create(
            SERVICE_ACCOUNT, request.namespace, body, name=request.name, subresource="token", as_node=as_node
        )
        return request.found(Object.parse(raw, TOKEN_REQUEST).raw)

    @staticmethod
    def no_token(request: Request, error: Exception) -> Message:
        """Answer with the error and the spec of the request.

        A Go edge takes the error for a token. Without a bound object in it, its kubelet can take down no volume of any
        pod any more, and without an expiration it never asks again.
        """
        try:
            spec = request.data().get("spec")
        except BadRequestError:
            spec = None
        return request.failed(error, spec=spec)

    async def _require_pod(self, request: Request, spec: Any, as_node: str) -> None:
        bound = spec.get("boundObjectRef") if isinstance(spec, dict) else None
        if not isinstance(bound, dict) or bound.get("kind") != "Pod" or not bound.get("name"):
            raise ForbiddenError("a node may only ask for tokens that are bound to a pod")
        pod = await self._pods.pod(request.node, request.namespace, str(bound["name"]), as_node)
        if pod.uid != bound.get("uid") or service_account_of(pod) != request.name:
            raise ForbiddenError(f"pod {bound['name']!r} does not run as service account {request.name!r}")

    async def insert_signing_request(self, request: Request, as_node: str) -> Message:
        """Create a CertificateSigningRequest."""
        body = request.object(CERTIFICATE_SIGNING_REQUEST).raw
        created = await self._api.create(CERTIFICATE_SIGNING_REQUEST, "", body, as_node=as_node)
        return request.written(created, with_version=False)

    async def query_signing_request(self, request: Request, as_node: str) -> Message:
        """Answer with a CertificateSigningRequest, read as cloudcore."""
        raw = await self._api.get(CERTIFICATE_SIGNING_REQUEST, "", request.name)
        object = Object.parse(raw, CERTIFICATE_SIGNING_REQUEST)
        return request.found(object.raw, object.resource_version)
