"""cloudcore: the part of KubeEdge beside the Kubernetes API.

Each folder is one module and knows no other; they meet on the bus. app.py makes and joins them.
"""
