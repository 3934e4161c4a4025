"""The pods of the node: takes them from metamanager, gives each a worker, ends what nobody wants (spec 05 §4.3)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from kubeedge import resources
from kubeedge.edgecore.edged import labels
from kubeedge.edgecore.edged.admission import Node, admit
from kubeedge.edgecore.edged.meta import MetaClient, MetaError, read_object
from kubeedge.edgecore.edged.pod import DEFAULT_GRACE_S, Object, Pod, skeleton
from kubeedge.edgecore.edged.services import Services
from kubeedge.edgecore.edged.worker import PodWorker
from kubeedge.message import Message
from kubeedge.metrics import Counter, Gauge

log = logging.getLogger("kubeedge.edged")

# The first answer of the local database; nothing runs before it.
FIRST_SET_RETRY_S = 1.0
# A node without any pod in its database may be one that was set up anew over running containers: what is not known
# is only ended when the cloud had this long to say what it wants (spec 05 E7; its object sync passes every 5 s).
ORPHAN_PATIENCE_S = 60.0
HOUSEKEEPING_S = 60.0
# The runtime may not have been listed when the cloud had its time.
RETRY_S = 1.0

_pods = Gauge("kubeedge_edged_pods", "Pods that the node has workers for")
_rejected = Counter("kubeedge_edged_pods_rejected_total", "Pods that the node did not take", ("reason",))


class Pods:
    """All workers by the uid of their pod."""

    def __init__(
        self, services: Services, client: MetaClient, node_name: str, namespace: str, node: Callable[[], Node]
    ) -> None:
        self._services = services
        self._client = client
        self._node_name = node_name
        self._namespace = namespace
        self._node = node
        self._workers: dict[str, PodWorker] = {}
        self._group: asyncio.TaskGroup | None = None
        # What came before the first SET; it is newer than the SET.
        self._early: list[Message] | None = []
        self._set_was_empty = True
        self._online_since: float | None = None
        self._tidy = asyncio.Event()

    def changed(self, uid: str) -> None:
        """The runtime's state of a pod is another."""
        worker = self._workers.get(uid)
        if worker is not None:
            worker.wake()
        else:
            self._tidy.set()

    def runtime_returned(self) -> None:
        """The runtime answers again: every pod may have something to do."""
        for worker in self._workers.values():
            worker.wake()

    def connected(self, online: bool) -> None:
        """The cloud can be reached, or not any more."""
        if online and self._online_since is None:
            self._online_since = asyncio.get_running_loop().time()
            self._tidy.set()
        elif not online:
            self._online_since = None

    def list(self) -> list[Object]:
        """Return the pods with the status that the node has last reported."""
        return [{**worker.pod.data, "status": worker.current_status} for worker in self._workers.values()]

    def image_names(self) -> set[str]:
        """Return the images that pods of the node may need, named as the pods name them."""
        active = (worker.pod for worker in self._workers.values() if worker.is_active)
        return {str(container.get("image") or "") for pod in active for container in pod.every_container()}

    @property
    def is_set(self) -> bool:
        """The local database has said which pods there are."""
        return self._early is None

    def receive(self, message: Message) -> None:
        """Take a message about a pod, a ConfigMap or a Secret. Raises MetaError when it cannot be read."""
        resource = resources.parse(message.resource)
        if resource.type in ("configmap", "secret"):
            self._object(resource, message)
        elif resource.type == "pod":
            if self._early is not None:
                self._early.append(message)
            else:
                self._pod(message)

    def _object(self, resource: resources.Resource, message: Message) -> None:
        new = None if message.operation == "delete" else read_object(message)
        self._services.objects.pushed(resource.type, resource.namespace, resource.name, new or None)
        key = (resource.type, resource.namespace, resource.name)
        for worker in self._workers.values():
            if key in used_objects(worker.pod):
                worker.objects_changed()

    def _pod(self, message: Message) -> None:
        data = read_object(message)
        pod = Pod(data)
        if not pod.uid:
            raise MetaError("", f"{message.operation} {message.resource} carries no pod")
        if message.operation in ("insert", "update"):
            if pod.spec.get("nodeName") == self._node_name:
                self._put(pod)
        elif message.operation == "delete":
            self._remove(pod)

    def _put(self, pod: Pod) -> None:
        worker = self._workers.get(pod.uid)
        if worker is not None and not worker.is_gone:
            if pod.resource_version and pod.resource_version < worker.pod.resource_version:
                # Two queues of the link can overtake each other (spec 05 §2.8).
                return
            self._services.reporter.seen(pod)
            worker.update(pod)
            return
        for other in self._workers.values():
            if other.pod.key == pod.key and other.pod.uid != pod.uid:
                # A new pod took the name: the old one is gone from the API, whether that was told or not.
                other.removed()
        self._services.reporter.seen(pod)
        self._add(PodWorker(pod, self._services, rejection=self._rejection(pod)))
        log.info("pod added pod=%s uid=%s", pod.key, pod.uid)

    def _rejection(self, pod: Pod) -> tuple[str, str] | None:
        if pod.is_terminal or pod.is_deleted or pod.status.get("startTime"):
            # It was taken once; what it was given then is not taken away because edged was started again.
            return None
        others = [worker.pod for worker in self._workers.values() if worker.is_active]
        refusal = admit(pod, others, self._node(), self._services.runtime.refuses)
        if refusal is None:
            return None
        _rejected.inc(refusal.reason)
        log.warning("pod rejected pod=%s reason=%s message=%s", pod.key, refusal.reason, refusal.message)
        self._services.events.pod(pod, "Warning", refusal.reason, refusal.message)
        return refusal.reason, refusal.message

    def _remove(self, pod: Pod) -> None:
        worker = self._workers.get(pod.uid)
        if worker is not None:
            worker.removed()

    def _add(self, worker: PodWorker) -> None:
        if self._group is None:
            raise RuntimeError("pods are added while run() is running")
        uid = worker.pod.uid
        self._workers[uid] = worker
        _pods.set(len(self._workers))
        self._group.create_task(self._keep(worker))

    async def _keep(self, worker: PodWorker) -> None:
        await worker.run()
        uid = worker.pod.uid
        if self._workers.get(uid) is worker:
            del self._workers[uid]
            _pods.set(len(self._workers))
        self._services.reporter.forget(uid)
        self._services.objects.forget_tokens(uid)
        self._services.images.forget_pod(uid)
        self._services.events.forget_pod(uid)
        log.info("pod removed pod=%s uid=%s", worker.pod.key, uid)

    async def run(self) -> None:
        """Fetch the pods of the local database, then keep all pods until cancelled; containers go on after that."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await self._first_set()
            while True:
                self._forget_unused()
                await self._tidy_up()
                self._tidy.clear()
                try:
                    async with asyncio.timeout(self._pause_s()):
                        await self._tidy.wait()
                except TimeoutError:
                    pass

    def _pause_s(self) -> float:
        """Return when to tidy up next, at the latest: what waits for the cloud's word goes as soon as it may."""
        if not self._set_was_empty or self._online_since is None:
            return HOUSEKEEPING_S
        left_s = self._online_since + ORPHAN_PATIENCE_S - asyncio.get_running_loop().time()
        return min(HOUSEKEEPING_S, max(RETRY_S, left_s))

    async def _first_set(self) -> None:
        while True:
            try:
                found = await self._client.pods(self._namespace)
                break
            except MetaError as error:
                log.warning("pods cannot be read reason=%s", error.message)
                await asyncio.sleep(FIRST_SET_RETRY_S)
        pods = [Pod(data) for data in found if (data.get("spec") or {}).get("nodeName") == self._node_name]
        pods.sort(key=lambda p: str(p.metadata.get("creationTimestamp") or ""))
        for pod in (p for p in pods if p.uid):
            self._guarded(pod.key, partial(self._put, pod))
        self._set_was_empty = not pods
        log.info("pods read from the database count=%d", len(pods))
        early, self._early = self._early or [], None
        for message in early:
            self._guarded(message.resource, partial(self._pod, message))

    @staticmethod
    def _guarded(what: str, take: Callable[[], None]) -> None:
        """Take one pod; one that edged cannot cope with must not take the others with it."""
        try:
            take()
        except MetaError as error:
            log.warning("pod not understood resource=%s reason=%s", what, error.message)
        except Exception:
            log.exception("pod failed resource=%s", what)

    def _forget_unused(self) -> None:
        used: set[tuple[str, str, str]] = set()
        for worker in self._workers.values():
            used |= used_objects(worker.pod)
        self._services.objects.forget_unused(used)

    async def _tidy_up(self) -> None:
        """End pods of the runtime that nobody wants, and remove folders of pods that are gone."""
        if not self._may_end_orphans():
            return
        for uid in self._services.watcher.pod_uids() - self._workers.keys():
            self._end_orphan(uid)
        wanted = set(self._workers) | self._services.watcher.pod_uids()
        for uid in self._services.folders.known_pods():
            if uid not in wanted:
                try:
                    await asyncio.to_thread(self._services.folders.remove_pod, uid)
                except OSError as error:
                    log.warning("pod folder not removed uid=%s reason=%s", uid, error)
        await asyncio.to_thread(self._services.folders.remove_logs, wanted)

    def _may_end_orphans(self) -> bool:
        if self._services.watcher.listed_at is None:
            return False
        if self._set_was_empty and self._online_since is not None:
            online_for_s = asyncio.get_running_loop().time() - self._online_since
            self._set_was_empty = online_for_s < ORPHAN_PATIENCE_S
        return not self._set_was_empty

    def _end_orphan(self, uid: str) -> None:
        sandboxes, containers = self._services.watcher.listed(uid)
        known = {**(containers[0].labels if containers else {}), **(sandboxes[0].labels if sandboxes else {})}
        grace = DEFAULT_GRACE_S
        for container in containers:
            for key in (labels.POD_DELETION_GRACE, labels.POD_GRACE):
                text = container.annotations.get(key, "")
                if text.isdigit():
                    grace = int(text)
                    break
        name, namespace = known.get(labels.POD_NAME, uid), known.get(labels.POD_NAMESPACE, "")
        log.info("ending pod that nobody wants pod=%s/%s uid=%s", namespace, name, uid)
        pod = skeleton(uid, name, namespace, sorted({c.name for c in containers}), grace)
        self._add(PodWorker(pod, self._services, is_orphan=True))


def used_objects(pod: Pod) -> set[tuple[str, str, str]]:
    """Return the ConfigMaps and Secrets that a pod names, as (type, namespace, name)."""
    config_maps: set[str] = set()
    secrets: set[str] = {r.get("name") or "" for r in pod.spec.get("imagePullSecrets") or ()}
    for volume in pod.volumes:
        for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
            if source.get("configMap"):
                config_maps.add(source["configMap"].get("name") or "")
            secret = source.get("secret")
            if secret:
                secrets.add(secret.get("secretName") or secret.get("name") or "")
    for container in pod.every_container():
        for source in container.get("envFrom") or ():
            config_maps.add((source.get("configMapRef") or {}).get("name") or "")
            secrets.add((source.get("secretRef") or {}).get("name") or "")
        for variable in container.get("env") or ():
            value = variable.get("valueFrom") or {}
            config_maps.add((value.get("configMapKeyRef") or {}).get("name") or "")
            secrets.add((value.get("secretKeyRef") or {}).get("name") or "")
    found = {("configmap", pod.namespace, name) for name in config_maps if name}
    return found | {("secret", pod.namespace, name) for name in secrets if name}
