"""The gRPC face of the core: requests in, ready bytes out, every failure a google.rpc.Status."""
