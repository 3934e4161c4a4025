"""Images: policies, back-off, credentials."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from kubeedge.edgecore.edged.images import ImageError, Images, credentials, default_policy, full_name, with_tag
from kubeedge.edgecore.edged.meta import MetaError
from kubeedge.edgecore.edged.objects import Objects
from kubeedge.edgecore.edged.pod import Pod
from kubeedge.edgecore.edged.runtime.interface import Image, ImageAuth, RuntimeCallError, SandboxConfig

SANDBOX = SandboxConfig("p", "n", "u")


class Registry:
    """A runtime as far as images go. present: what it has; password: what a pull needs, None lets anybody."""

    def __init__(self) -> None:
        self.present: set[str] = set()
        self.pulls: list[tuple[str, str]] = []
        self.password: str | None = None
        self.error: RuntimeCallError | None = None
        self.under_way = self.most_under_way = 0

    async def image_status(self, image: str) -> Image | None:
        return Image(f"id of {image}", [image], [], 7) if image in self.present else None

    async def pull_image(self, image: str, auth: ImageAuth | None, sandbox: SandboxConfig) -> str:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        self.pulls.append((image, auth.username if auth else ""))
        if self.error is not None:
            raise self.error
        if self.password is not None and (auth is None or auth.password != self.password):
            raise RuntimeCallError("ErrImagePull", "denied")
        self.present.add(image)
        return image


class Secrets:
    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {}

    async def secret(self, namespace: str, name: str) -> dict[str, Any]:
        if name not in self.found:
            raise MetaError("NotFound", "no")
        return self.found[name]

    async def config_map(self, namespace: str, name: str) -> dict[str, Any]:
        raise AssertionError

    async def token(self, namespace: str, service_account: str, request: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError


class Bench:
    def __init__(self) -> None:
        self.now = 1000.0
        self.status: dict[str, Any] = {}
        self.registry = Registry()
        self.secrets = Secrets()
        objects = Objects(self.secrets, lambda: self.now)
        self.images = Images(self.registry, objects, lambda: self.now, 10)  # type: ignore[arg-type]
        self.events: list[tuple[str, ...]] = []

    async def ensure(self, image: str, policy: str = "", *secrets: str) -> Image:
        pod = Pod(
            {
                "metadata": {"name": "p", "namespace": "n", "uid": "u"},
                "spec": {"imagePullSecrets": [{"name": name} for name in secrets]},
                "status": self.status,
            }
        )
        container = {"name": "c", "image": image, **({"imagePullPolicy": policy} if policy else {})}
        return await self.images.ensure(
            pod, container, SANDBOX, lambda _, reason, text: self.events.append((reason, text))
        )

    async def refused(self, image: str, policy: str = "", *secrets: str) -> ImageError:
        with pytest.raises(ImageError) as caught:
            await self.ensure(image, policy, *secrets)
        return caught.value


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("image", "tagged", "policy"),
    [
        ("busybox", "busybox:latest", "Always"),
        ("busybox:latest", "busybox:latest", "Always"),
        ("busybox:1.36", "busybox:1.36", "IfNotPresent"),
        ("host:5000/x", "host:5000/x:latest", "Always"),
        ("host:5000/x:1", "host:5000/x:1", "IfNotPresent"),
        ("x@sha256:00", "x@sha256:00", "IfNotPresent"),
    ],
)
def test_tag_and_policy_of_a_name(image: str, tagged: str, policy: str) -> None:
    assert with_tag(image) == tagged
    assert default_policy(image) == policy


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("team/x:1", "docker.io/team/x:1"),
        ("localhost/x:1", "localhost/x:1"),
        ("r.example:5000/team/x", "r.example:5000/team/x:latest"),
        ("r.example:5000/x:1@sha256:00", "r.example:5000/x@sha256:00"),
        ("x@sha256:00", "docker.io/library/x@sha256:00"),
        ("", ""),
    ],
)
def test_full_name_is_the_one_that_runtimes_list(image: str, full: str) -> None:
    assert full_name(image) == full


async def test_present_image_is_not_pulled_unless_always(bench: Bench) -> None:
    bench.registry.present.add("x:1")
    await bench.ensure("x:1")
    assert bench.registry.pulls == []
    assert bench.events == [("Pulled", 'Container image "x:1" already present on machine')]
    await bench.ensure("x:1", "Always")
    assert bench.registry.pulls == [("x:1", "")]


async def test_absent_image_is_pulled(bench: Bench) -> None:
    image = await bench.ensure("x:1")
    assert image.id == "id of x:1"
    assert [event[0] for event in bench.events] == ["Pulling", "Pulled"]
    assert bench.events[1][1].startswith('Successfully pulled image "x:1" in ')


async def test_absent_image_that_may_not_be_pulled(bench: Bench) -> None:
    error = await bench.refused("x:1", "Never")
    assert error.reason == "ErrImageNeverPull"
    assert error.message == 'Container image "x:1" is not present with pull policy of Never'


async def test_pull_that_fails_is_left_alone_for_longer_each_time(bench: Bench) -> None:
    bench.registry.error = RuntimeCallError("Unknown", "connection refused")
    pauses = []
    for _ in range(7):
        error = await bench.refused("x:1")
        assert (error.reason, error.message) == ("ErrImagePull", "connection refused")
        bench.now = error.retry_at
        error = await bench.refused("x:1")
        assert error.reason == "ImagePullBackOff"
        assert error.message == 'Back-off pulling image "x:1": ErrImagePull: connection refused'
        pauses.append(error.retry_at - bench.now + 2)
        bench.now = error.retry_at
    assert pauses == [10, 20, 40, 80, 160, 300, 300]
    assert len(bench.registry.pulls) == 7


async def test_success_ends_the_back_off(bench: Bench) -> None:
    bench.registry.error = RuntimeCallError("Unknown", "connection refused")
    error = await bench.refused("x:1")
    bench.now = error.retry_at + 10
    bench.registry.error = None
    await bench.ensure("x:1")
    bench.registry.present.clear()
    bench.registry.error = RuntimeCallError("Unknown", "again")
    assert (await bench.refused("x:1")).reason == "ErrImagePull"


def waiting(reason: str, message: str, image: str = "x:1") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"name": "other", "image": image}, {"name": "c", "image": image, "state": state}]}


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ErrImagePull", "connection refused"),
        ("ImagePullBackOff", 'Back-off pulling image "x:1": ErrImagePull: connection refused'),
    ],
)
@pytest.mark.parametrize("image", ["x:1", "docker.io/library/x:1"])
async def test_restart_of_edged_is_no_reason_to_pull_at_once(
    bench: Bench, reason: str, message: str, image: str
) -> None:
    bench.status = waiting(reason, message, image)
    bench.registry.error = RuntimeCallError("Unknown", "connection refused")
    error = await bench.refused("x:1")
    assert (error.reason, error.retry_at) == ("ImagePullBackOff", bench.now + 10)
    assert error.message == 'Back-off pulling image "x:1": ErrImagePull: connection refused'
    assert bench.registry.pulls == []
    bench.now = error.retry_at
    error = await bench.refused("x:1")
    assert error.reason == "ErrImagePull"
    assert (await bench.refused("x:1")).retry_at == bench.now + 20


async def test_image_that_came_while_edged_was_away_is_used_at_once(bench: Bench) -> None:
    bench.status = waiting("ErrImagePull", "connection refused")
    bench.registry.present.add("x:1")
    await bench.ensure("x:1")
    bench.registry.present.clear()
    await bench.ensure("x:1")
    assert bench.registry.pulls == [("x:1", "")]


@pytest.mark.parametrize(
    "status",
    [
        waiting("ErrImagePull", "connection refused", "y:1"),
        waiting("ContainerCreating", ""),
        waiting("CrashLoopBackOff", "back-off"),
        waiting("ImagePullBackOff", "in words that nobody knows"),
        {"containerStatuses": [{"name": "c", "image": "x:1", "state": {"running": {}}}]},
    ],
)
async def test_status_that_tells_of_no_failed_pull_puts_nothing_off(bench: Bench, status: dict[str, Any]) -> None:
    bench.status = status
    await bench.ensure("x:1")
    assert bench.registry.pulls == [("x:1", "")]


async def test_each_fitting_credential_is_tried_until_one_is_taken(bench: Bench) -> None:
    auths = {"r.example": {"username": "a", "password": "wrong"}, "r.example/team": {"auth": encode("b:right")}}
    bench.secrets.found["one"] = dockerconfig(auths)
    bench.registry.password = "right"
    await bench.ensure("r.example/team/x:1", "", "one", "absent")
    assert bench.registry.pulls == [("r.example/team/x:1", "b")]
    assert bench.events[1][0] == "FailedToRetrieveImagePullSecret"
    await bench.refused("r.example/other/x:1", "", "one")
    assert bench.registry.pulls[1:] == [("r.example/other/x:1", "a")]


async def test_pulls_are_made_one_after_the_other(bench: Bench) -> None:
    await asyncio.gather(*(bench.ensure(f"x:{i}") for i in range(5)))
    assert bench.registry.most_under_way == 1


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def dockerconfig(auths: dict[str, Any]) -> dict[str, Any]:
    return {"data": {".dockerconfigjson": encode(json.dumps({"auths": auths}))}}


@pytest.mark.parametrize(
    ("server", "image", "fits"),
    [
        ("https://index.docker.io/v1/", "busybox", True),
        ("docker.io", "team/x", True),
        ("r.example:5000", "r.example:5000/x", True),
        ("r.example", "r.example:5000/x", False),
        ("*.example", "r.example/x", True),
        ("https://r.example/v2/", "r.example/x", True),
        ("r.example/team", "r.example/other/x", False),
        ("other.example", "r.example/x", False),
    ],
)
def test_credential_fits_the_registry_of_an_image(server: str, image: str, fits: bool) -> None:
    found = credentials(dockerconfig({server: {"username": "u", "password": "p"}}), image)
    assert bool(found) == fits


@pytest.mark.parametrize("data", [{}, {".dockerconfigjson": "???"}, {".dockerconfigjson": encode("[]")}])
def test_pull_secret_that_cannot_be_read_holds_nothing(data: dict[str, str]) -> None:
    assert credentials({"data": data}, "x") == []


def test_old_form_of_pull_secrets_is_read() -> None:
    (auth,) = credentials(
        {"data": {".dockercfg": encode(json.dumps({"r.example": {"auth": encode("u:p")}}))}}, "r.example/x"
    )
    assert auth is not None
    assert (auth.username, auth.password) == ("u", "p")
    assert "password" not in repr(auth)
