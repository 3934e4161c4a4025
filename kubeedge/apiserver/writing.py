"""Create, update and patch: from what a client sent to what is stored, in the order in which a real server does it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson

from kubeedge.apiserver import gojson, patch, status
from kubeedge.apiserver.admission import Admission
from kubeedge.apiserver.authentication import User
from kubeedge.apiserver.body import duplicate_fields, media_type, read_object, with_kind
from kubeedge.apiserver.kinds.registry import Registry
from kubeedge.apiserver.kinds.spec import KindSpec
from kubeedge.apiserver.reading import resource_of
from kubeedge.apiserver.representation import Answer, document_of
from kubeedge.apiserver.request import WriteOptions
from kubeedge.apiserver.revision import Stored
from kubeedge.apiserver.schema.reader import TypeMismatchError, conversion_words
from kubeedge.apiserver.status import Cause
from kubeedge.apiserver.storage import Storage, Transaction
from kubeedge.kube.api import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, ApiError, Kind
from kubeedge.kube.instants import timestamp

Document = dict[str, Any]
# Applies a change to an object: (old in the served version) -> new; may raise ApiError.
Change = Callable[[Document], Document]

# Letters of generated names: no vowels, so that no words come out.
_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_MAX_GENERATED_BASE = 58
_GENERATE_ATTEMPTS = 8

# Metadata that only the server changes: an update keeps what is there.
_SERVER_OWNED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")
_PRECONDITION_FAILED = (
    "StorageError: invalid object, Code: 4, Key: /registry/{resource}/{key}, ResourceVersion: 0, AdditionalErrorMsg: "
    "Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
)


CHECKED = WriteOptions()


class Sent(NamedTuple):
    """The body of a request."""

    body: bytes
    content_type: str = "application/json"


def random_suffix() -> str:
    """Return the five characters that end a generated name."""
    return "".join(random.choices(_NAME_LETTERS, k=_SUFFIX_LENGTH))


class Writer:
    """Runs the life of a kind (decode, default, admission, prepare, validate) inside storage transactions."""

    def __init__(self, storage: Storage, registry: Registry, admission: Admission) -> None:
        self._storage = storage
        self._registry = registry
        self._admission = admission

    # Create

    async def create(
        self, spec: KindSpec, namespace: str, sent: Sent, options: WriteOptions, user: User, name: str = ""
    ) -> Answer:
        """Create the object sent. name is that of the path, which only a PUT of an absent object has."""
        document = read_object(sent.body, sent.content_type, spec, self._registry)
        document, warnings = self._decode(spec, document, sent, options)
        metadata = document["metadata"]
        if spec.kind.namespaced:
            if metadata.setdefault("namespace", namespace) not in (namespace, ""):
                raise status.bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            metadata["namespace"] = namespace
        else:
            metadata.pop("namespace", None)
        spec.default(document)
        await self._admission.wait(spec.kind, namespace, document)

        def work(transaction: Transaction) -> Stored:
            return self._create(transaction, spec, document, options, user)

        return Answer(201, spec, await self._storage.write(work), warnings=warnings)

    def _create(
        self, transaction: Transaction, spec: KindSpec, document: Document, options: WriteOptions, user: User
    ) -> Stored:
        metadata = document["metadata"]
        self._admission.on_create(transaction, spec.kind, document, user)
        if metadata.get("resourceVersion"):
            raise status.plain_error("resourceVersion should not be set on objects to be created")
        resource = resource_of(spec)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = self._generate_name(transaction, resource, metadata)
        for field in ("resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"):
            metadata.pop(field, None)
        metadata["uid"] = str(uuid.uuid4())
        spec.prepare_create(document)
        metadata["creationTimestamp"] = timestamp(transaction.now_s)
        name = metadata.get("name", "")
        if causes := spec.validate(document, None):
            raise status.invalid(spec.kind, name, causes)
        if transaction.get(resource, metadata.get("namespace", ""), name) is not None:
            raise status.already_exists(spec.kind, name)
        document = _to_storage(spec, document)
        if options.dry_run:
            return _unstored(document)
        return transaction.put(resource, document)

    @staticmethod
    def _generate_name(transaction: Transaction, resource: str, metadata: Document) -> str:
        base = metadata["generateName"][:_MAX_GENERATED_BASE]
        name: str = base + random_suffix()
        for _ in range(_GENERATE_ATTEMPTS):
            if transaction.get(resource, metadata.get("namespace", ""), name) is None:
                break
            name = base + random_suffix()
        return name

    # Update

    async def update(
        self,
        spec: KindSpec,
        namespace: str,
        name: str,
        sent: Sent,
        options: WriteOptions,
        user: User,
        subresource: str = "",
    ) -> Answer:
        """Replace an object, or what a subresource lets through of it."""
        document = read_object(sent.body, sent.content_type, spec, self._registry)
        document, warnings = self._decode(spec, document, sent, options)
        metadata = document["metadata"]
        if spec.kind.namespaced and metadata.get("namespace") not in (None, "", namespace):
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        _check_name(metadata.get("name") or name, name)
        spec.default(document)
        if spec.create_on_update and not subresource and self._storage.get(resource_of(spec), namespace, name) is None:
            return await self.create(spec, namespace, sent, options, user, name)

        def change(old: Document) -> Document:
            del old
            return document

        return await self.change(spec, namespace, name, change, options, subresource=subresource, warnings=warnings)

    async def patch(
        self,
        spec: KindSpec,
        namespace: str,
        name: str,
        sent: Sent,
        options: WriteOptions,
        subresource: str = "",
    ) -> Answer:
        """Apply a JSON, merge or strategic merge patch to an object or a subresource of it."""
        warnings: list[str] = []
        apply = self.patcher(spec, sent)

        def change(old: Document) -> Document:
            warnings.clear()
            patched = apply(old)
            _check_name((patched.get("metadata") or {}).get("name"), name)
            document = with_kind(dict(patched), spec, self._registry)
            document["metadata"].pop("managedFields", None)
            try:
                document, unknown = spec.decode(document)
            except TypeMismatchError as error:
                if media_type(sent.content_type) == STRATEGIC_MERGE_PATCH:
                    shown = gojson.printed(orjson.loads(sent.body))
                    raise _invalid_patch(shown, conversion_words(error)) from None
                raise _invalid_patch(_shown(patched), str(error)) from None
            problems = [f"unknown field {gojson.quoted(path)}" for path in unknown]
            if problems and options.field_validation == "Strict":
                raise _invalid_patch(_shown(patched), "strict decoding error: " + ", ".join(problems))
            if options.field_validation == "Warn":
                warnings.extend(problems)
            spec.default(document)
            return document

        return await self.change(spec, namespace, name, change, options, subresource=subresource, warnings=warnings)

    @staticmethod
    def patcher(spec: KindSpec, sent: Sent, *, strategic: bool = True) -> Change:
        """Read a patch and return the function that applies it. Raises ApiError 400, 413 or 415."""
        kind = media_type(sent.content_type)
        accepted = [JSON_PATCH, MERGE_PATCH, *([STRATEGIC_MERGE_PATCH] if spec.strategic_patch else ())]
        if kind not in accepted:
            if kind in (STRATEGIC_MERGE_PATCH, "application/apply-patch+yaml"):
                raise status.unsupported_media_type(accepted)
            raise status.status(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
        decoded = patch.decode_patch(sent.body, kind)

        def apply(old: Document) -> Document:
            try:
                if kind == JSON_PATCH:
                    new = patch.json_patch(old, decoded)
                elif kind == MERGE_PATCH:
                    new = patch.merge_patch(old, decoded)
                else:
                    new = patch.strategic_merge_patch(old, decoded, spec.schema)
            except patch.PatchError:
                raise patch.unprocessable() from None
            if not isinstance(new, dict):
                raise patch.unprocessable()
            return new

        return apply

    async def change(
        self,
        spec: KindSpec,
        namespace: str,
        name: str,
        change: Change,
        options: WriteOptions = CHECKED,
        *,
        subresource: str = "",
        warnings: Sequence[str] = (),
    ) -> Answer:
        """Apply change to the newest state of an object. Raises ApiError, also what change raises."""

        def work(transaction: Transaction) -> Stored:
            return self.apply(transaction, spec, namespace, name, change, options, subresource)

        return Answer(200, spec, await self._storage.write(work), warnings=warnings)

    def apply(
        self,
        transaction: Transaction,
        spec: KindSpec,
        namespace: str,
        name: str,
        change: Change,
        options: WriteOptions = CHECKED,
        subresource: str = "",
    ) -> Stored:
        """Do what change() does, as a part of a transaction."""
        resource = resource_of(spec)
        current = transaction.get(resource, namespace, name)
        if current is None:
            raise status.not_found(spec.kind, name)
        old = document_of(spec, current)
        new = change(document_of(spec, current))
        metadata, kept = new["metadata"], old["metadata"]
        _check_precondition(spec, current, metadata)
        metadata["resourceVersion"] = kept["resourceVersion"]
        metadata["name"] = name
        for field in _SERVER_OWNED:
            if field in kept:
                metadata[field] = kept[field]
            else:
                metadata.pop(field, None)
        if spec.kind.namespaced:
            metadata["namespace"] = namespace
        else:
            metadata.pop("namespace", None)
        if subresource:
            spec.prepare_status(new, old)
            causes = spec.validate_status(new, old)
        else:
            spec.prepare_update(new, old)
            self._admission.on_update(transaction, spec.kind, new, old)
            causes = spec.validate(new, old)
        if causes:
            raise status.invalid(spec.kind, name, causes)
        if new == old:
            return current
        new = _to_storage(spec, new)
        if options.dry_run:
            return _unstored(new)
        if _is_finished(new):
            transaction.delete(resource, orjson.loads(orjson.dumps(new)))
            return _unstored(new)
        return transaction.put(resource, new)

    def _decode(
        self, spec: KindSpec, document: Document, sent: Sent, options: WriteOptions
    ) -> tuple[Document, list[str]]:
        kind = spec.kind
        document["metadata"].pop("managedFields", None)
        head = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
        try:
            decoded, unknown = spec.decode(document)
        except TypeMismatchError as error:
            raise status.bad_request(f"{head}{error}") from None
        if options.field_validation == "Ignore":
            return decoded, []
        problems = [f"unknown field {gojson.quoted(path)}" for path in unknown]
        if media_type(sent.content_type) == "application/json":
            problems = [f"duplicate field {gojson.quoted(path)}" for path in duplicate_fields(sent.body)] + problems
        if problems and options.field_validation == "Strict":
            raise status.bad_request(f"{head}strict decoding error: " + ", ".join(problems))
        return decoded, problems


def _to_storage(spec: KindSpec, document: Document) -> Document:
    return document if spec.to_storage is None else spec.to_storage(document)


def _unstored(document: Document) -> Stored:
    """An object to answer with that is not (or no longer) stored under a new version."""
    metadata = document["metadata"]
    rv = int(metadata.get("resourceVersion") or 0)
    return Stored(metadata.get("namespace", ""), metadata["name"], metadata["uid"], rv, orjson.dumps(document), {})


def _is_finished(document: Document) -> bool:
    """A deletion waited for finalizers, and there are none left."""
    metadata = document["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if metadata.get("deletionGracePeriodSeconds"):
        return False
    return not (document["kind"] == "Namespace" and (document.get("spec") or {}).get("finalizers"))


def _check_name(sent: Any, name: str) -> None:
    if sent != name:
        raise status.bad_request(f"the name of the object ({sent}) does not match the name on the URL ({name})")


def _check_precondition(spec: KindSpec, current: Stored, metadata: Document) -> None:
    """Refuse an update of something else than what the client saw."""
    name, uid, version = current.name, metadata.get("uid"), metadata.get("resourceVersion")
    if uid and uid != current.uid:
        resource = f"{spec.kind.group}/{spec.kind.plural}" if spec.kind.group else spec.kind.plural
        why = _PRECONDITION_FAILED.format(resource=resource, key=current.key, wanted=uid, found=current.uid)
        raise status.conflict(spec.kind, name, why)
    if not version or version == "0":
        if not spec.unconditional_update:
            why = "Invalid value: 0: must be specified for an update"
            cause = Cause("FieldValueInvalid", why, "metadata.resourceVersion")
            raise status.invalid(spec.kind, name, [cause], noun=spec.kind.plural)
        return
    if not (version.isascii() and version.isdigit()):
        raise status.plain_error(f'strconv.ParseUint: parsing "{version}": invalid syntax')
    if int(version) != current.rv:
        raise status.conflict(spec.kind, name)


def _shown(patched: Document) -> str:
    return orjson.dumps(dict(sorted(patched.items()))).decode()


def _invalid_patch(shown: str, why: str) -> ApiError:
    cause = Cause("FieldValueInvalid", f"Invalid value: {gojson.quoted(shown)}: {why}", "patch")
    error = status.invalid(Kind("", "", "", "", False), "", [cause])
    body = orjson.loads(error.status)
    body["details"].pop("kind", None)
    return ApiError(error.code, error.reason, error.message, orjson.dumps(body))
