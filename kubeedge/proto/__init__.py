"""Messages of the gRPC interfaces at the edge: our own minimal definitions and the modules generated from them.

After a change of a .proto file, at the root of the repository, with the packages grpcio-tools and grpclib:

    python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpclib_python_out=. kubeedge/proto/*.proto
"""
