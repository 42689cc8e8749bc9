"""Messages and service descriptors of the wire contract, generated from protos/ when the package is built."""
