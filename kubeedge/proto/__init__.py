"""Messages of the gRPC interfaces at the edge: our own minimal definitions and the modules generated from them.

After a change of a .proto file, at the root of the repository, with the packages grpcio-tools and grpclib:

    python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpclib_python_out=. kubeedge/proto/*.proto
"""

# Metadata of a mapper's MapperRegister call by which it says that it wants the numbers of `configData` exact: whole
# ones as Int64Value, others as DoubleValue. To mappers that do not say so all go as FloatValue, as upstream sends them.
EXACT_NUMBERS = ("kubeedge-numbers", "exact")
