"""All methods of all services of the contract, found in its descriptors: a new service is in every test that asks here."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from google.protobuf.descriptor import MethodDescriptor

import taskmeter.v1


def methods() -> dict[str, MethodDescriptor]:
    """Return the descriptors of all methods by path, "/package.Service/Method"."""
    found = {}
    for module in pkgutil.iter_modules(taskmeter.v1.__path__):
        file = import_module(f"taskmeter.v1.{module.name}").DESCRIPTOR
        for service in file.services_by_name.values():
            for method in service.methods:
                found[f"/{service.full_name}/{method.name}"] = method
    return found


METHODS = methods()
