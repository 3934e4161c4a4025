"""The controllers of the embedded API: scheduler, workloads, nodes, namespaces, service accounts, endpoints, garbage.

Each takes its decisions in pure functions over typed views of the objects (`views`), reads from caches that show its
own writes at once (`cache`) and works on a queue of keys (`queue`). They know nothing but `kube.api.KubeApi`, so they
run beside the engine in its process or against any API. `assembly.Controllers` joins them all.
"""

from kubeedge.apiserver.controllers.assembly import Controllers
from kubeedge.apiserver.controllers.nodelifecycle import NodeTimes

__all__ = ["Controllers", "NodeTimes"]
