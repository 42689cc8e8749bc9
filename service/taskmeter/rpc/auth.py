"""Who calls: the key in the call's metadata; remembered until any key changes, so that a key ends at once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from taskmeter.core.keyring import ADMIN_KEY_ID, Keyring
from taskmeter.core.rates import Bucket, Rates
from taskmeter.core.report_key import PREFIX as REPORT_KEY_PREFIX
from taskmeter.core.report_key import read_report_key
from taskmeter.errors import AuthenticationError, PermissionDeniedError
from taskmeter.model.key import Key, Quotas, Scope
from taskmeter.model.task import DEFAULT_TENANT
from taskmeter.rpc.scopes import METHOD_SCOPES

HEADER = "authorization"
_SCHEME = "Bearer "
_REPORTER = f"{_SCHEME}{REPORT_KEY_PREFIX}_"
REPORT_PROGRESS = "/taskmeter.v1.TaskService/ReportProgress"
MOST_REPORTERS = 4096
"""That are remembered, about 1 kB each; others are verified again."""


class Caller:
    """The owner of a verified key."""

    __slots__ = ("buckets", "key", "key_id", "reports_on", "tenant")

    def __init__(self, key: Key, buckets: tuple[Bucket, Bucket] | None = None, reports_on: tuple[str, int] | None = None) -> None:
        self.key = key
        self.reports_on = reports_on
        """The (token, attempt) that it may report about, and do nothing else; None = what its scopes say."""
        self.buckets = buckets
        """What its calls are counted in, see `core.rates`; None = they are not."""
        self.key_id = key.key_id
        self.tenant = key.tenant

    @property
    def quotas(self) -> Quotas:
        return self.key.quotas

    @property
    def is_operator(self) -> bool:
        """Whether the daemon itself, and every tenant's keys, are this caller's to manage."""
        return self.tenant == DEFAULT_TENANT and Scope.ADMIN in self.key.scopes


class Authenticator:
    """Checks keys and scopes, and the keys of tasks that report about themselves."""

    def __init__(
        self,
        keyring: Keyring,
        rates: Rates | None = None,
        *,
        report_secret: bytes = b"",
        tenant_of: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        """Take what makes report keys, and what tells whose task a token names; without them there are no report keys."""
        self._keyring = keyring
        self._rates = rates or Rates()
        self._report_secret = report_secret
        self._tenant_of = tenant_of
        self._reporters: OrderedDict[str, Caller] = OrderedDict()
        """By the whole header, those that reported last."""
        self._verified: dict[object, Caller] = {}
        """By the whole header, keys that are good only; a digest at every call would cost as much as the rest of it."""
        self._generation = keyring.generation

    def holder(self, metadata: Sequence[tuple[str, Any]] | None) -> Caller:
        """Return whose key the call carries. Raises `AuthenticationError` KEY_MISSING or KEY_INVALID."""
        value: object = ""
        for name, content in metadata or ():
            if name == HEADER:
                value = content
                break
        if self._generation != self._keyring.generation:
            self._verified.clear()
            self._rates.forget_all_but(frozenset(self._keyring.keys))
            self._generation = self._keyring.generation
        known = self._verified.get(value)
        if known is None and isinstance(value, str) and value.startswith(_REPORTER):
            return self._reporter(value)
        if known is None:
            known = self._verified[value] = self._verify(value)
        elif known.key.expire_time:
            self._keyring.check_alive(known.key, time.time())
        return known

    def permit(self, method: str, caller: Caller) -> None:
        """Raise `PermissionDeniedError` SCOPE_MISSING unless the caller may call `method`."""
        scope = METHOD_SCOPES.get(method)
        if caller.reports_on is not None:
            if method == REPORT_PROGRESS:
                return
            raise PermissionDeniedError(
                f"a report key opens ReportProgress only, not {method}", metadata={"scope": scope or "", "method": method}
            )
        if scope is None or scope not in caller.key.scopes:
            raise PermissionDeniedError(f"this key may not call {method}", metadata={"scope": scope or "", "method": method})

    def _reporter(self, value: str) -> Caller:
        known = self._reporters.get(value)
        if known is not None:
            self._reporters.move_to_end(value)
            return known
        found = read_report_key(self._report_secret, value[len(_SCHEME) :])
        tenant = self._tenant_of(found[0]) if found is not None else None
        if found is None or tenant is None:
            raise AuthenticationError("the key is not the report key of any task here", hint="it is in TASKMETER_REPORT_KEY")
        key = Key(f"report:{found[0]}:{found[1]}", tenant, frozenset(), b"")
        caller = self._reporters[value] = Caller(key, self._rates.unlisted(), reports_on=found)
        if len(self._reporters) > MOST_REPORTERS:
            self._reporters.popitem(last=False)
        return caller

    def _verify(self, value: object) -> Caller:
        if not isinstance(value, str) or not value:
            raise AuthenticationError("the call carries no key", reason="KEY_MISSING")
        if not value.startswith(_SCHEME):
            raise AuthenticationError("authorization must be 'Bearer KEY'")
        key = self._keyring.verify(value[len(_SCHEME) :], time.time())
        return Caller(key, self._rates.of(key, is_admin_key=key.key_id == ADMIN_KEY_ID))
