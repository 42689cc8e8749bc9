"""The changing fields of TaskStatus as protobuf bytes, straight from a view (numbers: protos/taskmeter/v1)."""
