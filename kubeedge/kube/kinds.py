"""The kinds of the API that the programs of this project use."""

from __future__ import annotations

from kubeedge.kube.api import Kind

NAMESPACE = Kind("", "v1", "namespaces", "Namespace", False)
NODE = Kind("", "v1", "nodes", "Node", False)
POD = Kind("", "v1", "pods", "Pod", True)
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap", True)
SECRET = Kind("", "v1", "secrets", "Secret", True)
EVENT = Kind("", "v1", "events", "Event", True)
SERVICE = Kind("", "v1", "services", "Service", True)
ENDPOINTS = Kind("", "v1", "endpoints", "Endpoints", True)
SERVICE_ACCOUNT = Kind("", "v1", "serviceaccounts", "ServiceAccount", True)
PERSISTENT_VOLUME = Kind("", "v1", "persistentvolumes", "PersistentVolume", False)
PERSISTENT_VOLUME_CLAIM = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True)
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment", True)
REPLICA_SET = Kind("apps", "v1", "replicasets", "ReplicaSet", True)
DAEMON_SET = Kind("apps", "v1", "daemonsets", "DaemonSet", True)
CONTROLLER_REVISION = Kind("apps", "v1", "controllerrevisions", "ControllerRevision", True)
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", True)
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease", True)
VOLUME_ATTACHMENT = Kind("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", False)
CERTIFICATE_SIGNING_REQUEST = Kind(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", False
)
CUSTOM_RESOURCE_DEFINITION = Kind(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False
)
OBJECT_SYNC = Kind("reliablesyncs.kubeedge.io", "v1alpha1", "objectsyncs", "ObjectSync", True)
CLUSTER_OBJECT_SYNC = Kind("reliablesyncs.kubeedge.io", "v1alpha1", "clusterobjectsyncs", "ClusterObjectSync", False)
DEVICE = Kind("devices.kubeedge.io", "v1beta1", "devices", "Device", True)
DEVICE_MODEL = Kind("devices.kubeedge.io", "v1beta1", "devicemodels", "DeviceModel", True)
DEVICE_STATUS = Kind("devices.kubeedge.io", "v1beta1", "devicestatuses", "DeviceStatus", True)
