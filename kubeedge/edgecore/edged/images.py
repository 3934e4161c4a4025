"""Images: pull policies, one pull at a time, back-off, credentials (spec 05 §5.4)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable

import msgspec
import orjson

from kubeedge.edgecore.edged import clock
from kubeedge.edgecore.edged.backoff import Backoff
from kubeedge.edgecore.edged.objects import MissingError, Objects
from kubeedge.edgecore.edged.pod import Object, Pod
from kubeedge.edgecore.edged.runtime.interface import (
    Image,
    ImageAuth,
    Runtime,
    RuntimeCallError,
    SandboxConfig,
)

log = logging.getLogger("kubeedge.edged")

# A pull that has just failed is shown with its own reason for a moment before the back-off is.
SHOW_ERROR_S = 2.0
DEFAULT_REGISTRY = "docker.io"
_DOCKER_HOSTS = frozenset(("docker.io", "index.docker.io", "registry-1.docker.io"))
# Reasons that a runtime may give itself; anything else is an ErrImagePull.
_OWN_REASONS = frozenset(("RegistryUnavailable", "SignatureValidationFailed", "InvalidImageName", "ImageInspectError"))
_PULL_REASONS = _OWN_REASONS | {"ErrImagePull"}


class ImageError(Exception):
    """An image that a container cannot have now. retry_at: not before that time (Unix seconds)."""

    def __init__(self, reason: str, message: str, retry_at: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_at = retry_at


Tell = Callable[[str, str, str], None]


class _Failure(msgspec.Struct):
    """How pulls have failed since the last that went well. is_useless: it was there, and nothing could use it."""

    backoff: Backoff
    reason: str = ""
    message: str = ""
    is_useless: bool = False

    def forgive(self) -> None:
        self.backoff = Backoff()


class Images:
    """Gets images for containers. Pulls are made one after the other, in the order in which they are asked for."""

    def __init__(self, runtime: Runtime, objects: Objects, now: Callable[[], float], retry_s: float) -> None:
        self._runtime = runtime
        self._objects = objects
        self._now = now
        self._retry_s = retry_s
        self._one_pull = asyncio.Lock()
        self._failures: dict[tuple[str, str], _Failure] = {}

    async def ensure(self, pod: Pod, container: Object, sandbox: SandboxConfig, tell: Tell) -> Image:
        """Return the image of a container, pulled as its policy says.

        tell(type, reason, message) makes an event of the container. Raises ImageError, RuntimeUnavailableError.
        """
        wanted = str(container.get("image") or "")
        name = with_tag(wanted)
        policy = container.get("imagePullPolicy") or default_policy(wanted)
        failure = self._failure(pod, container, wanted)
        present = await self._status(name)
        ends_at = failure.backoff.ends_at(failure.backoff.updated_at)
        if present is not None and policy != "Always" and not (failure.is_useless and ends_at > self._now()):
            tell("Normal", "Pulled", f'Container image "{wanted}" already present on machine')
            if not failure.is_useless:
                failure.forgive()
            return present
        if policy == "Never":
            message = f'Container image "{wanted}" is not present with pull policy of Never'
            tell("Warning", "ErrImageNeverPull", message)
            raise ImageError("ErrImageNeverPull", message, self._now() + self._retry_s)
        if ends_at > self._now():
            message = _backing_off(wanted)
            tell("Normal", "BackOff", message)
            raise ImageError("ImagePullBackOff", f"{message}: {failure.reason}: {failure.message}", ends_at)
        image = await self._pull(pod, wanted, name, sandbox, tell, failure)
        failure.forgive()
        return image

    def useless(self, pod: Pod, container: Object, why: str, tell: Tell) -> ImageError:
        """Note that an image that seemed to be there is of no use; return the error, as if it could not be pulled."""
        wanted = str(container.get("image") or "")
        failure = self._failure(pod, container, wanted)
        failure.is_useless = True
        return self._failed(failure, "ErrImagePull", why, wanted, tell)

    def _failed(self, failure: _Failure, reason: str, why: str, wanted: str, tell: Tell) -> ImageError:
        now = self._now()
        failure.backoff.advance(failure.backoff.updated_at, now)
        failure.reason, failure.message = reason, why
        tell("Warning", "Failed", f'Failed to pull image "{wanted}": {why}')
        tell("Warning", "Failed", f"Error: {reason}")
        return ImageError(reason, why, now + SHOW_ERROR_S)

    def _failure(self, pod: Pod, container: Object, wanted: str) -> _Failure:
        """Return how the pulls of an image for a pod have failed.

        The first time it is read from the status that the pod had before edged was started: the registry is not to see
        one more try for each restart, nor the status to change. When that pull was, and after how many, is not known.
        """
        failure = self._failures.get((pod.uid, wanted))
        if failure is None:
            failure = self._failures[pod.uid, wanted] = _Failure(Backoff())
            told = _told(pod, container, wanted)
            if told is not None:
                failure.reason, failure.message = told
                failure.backoff.recall(1, 0.0, self._now())
        return failure

    async def _pull(
        self, pod: Pod, wanted: str, name: str, sandbox: SandboxConfig, tell: Tell, failure: _Failure
    ) -> Image:
        tell("Normal", "Pulling", f'Pulling image "{wanted}"')
        asked_at = self._now()
        async with self._one_pull:
            started_at = self._now()
            error: RuntimeCallError | None = None
            for auth in await self._credentials(pod, name, tell):
                try:
                    reference = await self._runtime.pull_image(name, auth, sandbox)
                except RuntimeCallError as refused:
                    error = refused
                else:
                    error = None
                    break
        if error is not None:
            reason = error.reason if error.reason in _OWN_REASONS else "ErrImagePull"
            raise self._failed(failure, reason, error.message, wanted, tell)
        image = await self._status(reference) or await self._status(name) or Image(reference, [name], [], 0)
        took, waited = self._now() - started_at, self._now() - asked_at
        tell(
            "Normal",
            "Pulled",
            f'Successfully pulled image "{wanted}" in {_short(took)} ({_short(waited)} including waiting). '
            f"Image size: {image.size_bytes} bytes.",
        )
        return image

    async def _status(self, name: str) -> Image | None:
        try:
            return await self._runtime.image_status(name)
        except RuntimeCallError as error:
            reason = error.reason if error.reason == "InvalidImageName" else "ImageInspectError"
            message = f'Failed to inspect image "{name}": {error.message}'
            if reason == "InvalidImageName":
                message = f'Failed to apply default image tag "{name}": {error.message}'
            raise ImageError(reason, message, self._now() + self._retry_s) from None

    def forget_pod(self, pod_uid: str) -> None:
        """Forget what is known of a pod that is gone."""
        for key in [k for k in self._failures if k[0] == pod_uid]:
            del self._failures[key]

    async def _credentials(self, pod: Pod, image: str, tell: Tell) -> list[ImageAuth | None]:
        """Return the credentials to try, at least one: none at all."""
        found: list[ImageAuth | None] = []
        for reference in pod.spec.get("imagePullSecrets") or ():
            name = reference.get("name") or ""
            try:
                secret = await self._objects.secret(pod.namespace, name)
            except MissingError:
                tell(
                    "Warning",
                    "FailedToRetrieveImagePullSecret",
                    f"Unable to retrieve some image pull secrets ({name}); "
                    "attempting to pull the image may not succeed.",
                )
                continue
            found.extend(credentials(secret, image))
        return found or [None]


def _told(pod: Pod, container: Object, wanted: str) -> tuple[str, str] | None:
    """Return reason and message of the failed pull that a container's status tells of, None if it tells of none."""
    for key in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for status in pod.status.get(key) or ():
            waiting = (status.get("state") or {}).get("waiting") or {}
            image = full_name(str(status.get("image") or ""))
            if not waiting or status.get("name") != container.get("name") or image != full_name(wanted):
                continue
            reason, message = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
            if reason == "ImagePullBackOff":
                reason, _, message = message.removeprefix(f"{_backing_off(wanted)}: ").partition(": ")
            if reason in _PULL_REASONS:
                return reason, message
    return None


def _backing_off(image: str) -> str:
    return f'Back-off pulling image "{image}"'


def default_policy(image: str) -> str:
    """Return the policy that the API sets where a container has none."""
    tag = with_tag(image).rsplit("@", 1)[0].rsplit("/", 1)[-1].partition(":")[2]
    return "Always" if tag == "latest" and "@" not in image else "IfNotPresent"


def with_tag(image: str) -> str:
    """Add `:latest` to a name that has neither tag nor digest."""
    last = image.rsplit("/", 1)[-1]
    return image if ":" in last or "@" in last or not image else f"{image}:latest"


def registry_of(image: str) -> tuple[str, str]:
    """Return the registry of an image and its path there."""
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return DEFAULT_REGISTRY, image if slash else f"library/{image}"


def full_name(image: str) -> str:
    """Return the name of an image as runtimes list it: `docker.io/library/busybox:latest` for `busybox`."""
    name, at, digest = with_tag(image).partition("@")
    if at:
        # Beside a digest the tag means nothing.
        folder, slash, last = name.rpartition("/")
        name = f"{folder}{slash}{last.partition(':')[0]}"
    return "/".join(registry_of(name)) + at + digest if name else ""


def credentials(secret: Object, image: str) -> list[ImageAuth | None]:
    """Return what a pull secret holds for the registry of an image, the most specific entry first."""
    data = secret.get("data") or {}
    try:
        if ".dockerconfigjson" in data:
            entries = orjson.loads(base64.b64decode(data[".dockerconfigjson"])).get("auths") or {}
        elif ".dockercfg" in data:
            entries = orjson.loads(base64.b64decode(data[".dockercfg"]))
        else:
            return []
    except (binascii.Error, orjson.JSONDecodeError, AttributeError):
        log.warning("pull secret cannot be read secret=%s", (secret.get("metadata") or {}).get("name"))
        return []
    host, path = registry_of(image)
    matching = [(key, entry) for key, entry in entries.items() if _matches(key, host, path)]
    matching.sort(key=lambda pair: len(pair[0]), reverse=True)
    return [_auth(key, entry) for key, entry in matching]


def _matches(key: str, host: str, path: str) -> bool:
    bare = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    for suffix in ("/v1", "/v2"):
        bare = bare.removesuffix(suffix)
    key_host, _, key_path = bare.partition("/")
    same = key_host == host or (key_host in _DOCKER_HOSTS and host in _DOCKER_HOSTS)
    if not same and key_host.startswith("*."):
        same = host.partition(".")[2] == key_host[2:]
    return same and (not key_path or path.startswith(key_path))


def _auth(server: str, entry: Object) -> ImageAuth:
    username, password = entry.get("username") or "", entry.get("password") or ""
    if entry.get("auth") and not username:
        try:
            username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            log.warning("pull secret has an unreadable entry server=%s", server)
    return ImageAuth(
        username=username,
        password=password,
        server_address=server,
        identity_token=entry.get("identitytoken") or "",
        registry_token=entry.get("registrytoken") or "",
    )


def _short(seconds: float) -> str:
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    return f"{seconds:.3f}s" if seconds < 60 else clock.short_duration(seconds)
