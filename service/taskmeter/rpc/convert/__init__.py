"""Between model values and protobuf messages: the only room that knows both."""

from taskmeter.rpc.convert.codec import ProtoCodec

__all__ = ["ProtoCodec"]
