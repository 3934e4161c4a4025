"""KubeEdge in Python: Kubernetes extended to machines at the edge.

Three programs share this package: cloudcore (beside the Kubernetes API), edgecore (on the edge node) and an
embedded Kubernetes API for one machine. They speak the protocols of KubeEdge v1.23.
"""

__version__ = "0.1.0"

# The KubeEdge release whose wire protocol this package implements; it is what nodes report in kubeletVersion.
KUBEEDGE_VERSION = "v1.23.0"
KUBERNETES_VERSION = "v1.32.10"
