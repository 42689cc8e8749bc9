"""Keys on disk: whole after any crash, readable by their owner only, and refused when they are not right."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from taskmeter.errors import UnavailableError
from taskmeter.model.key import Key, Quotas, Scope
from taskmeter.stores.keyfile import KeyFile

KEY = Key("ab12", "acme", frozenset({Scope.READ, Scope.ADMIN}), bytes(32), "ci", 1.5, 2.5, 3.5, Quotas(1, 0, 3, 4))


def test_what_was_saved_is_read_back(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    admin, none = file.load()
    assert admin.startswith("tm_admin_") and len(admin) == len("tm_admin_") + 43 and not none
    file.save([KEY])
    assert KeyFile(tmp_path).load() == (admin, [KEY])
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert sorted(os.listdir(tmp_path)) == ["admin.key", "keys.json"]


def test_a_save_that_was_cut_off_leaves_the_keys_as_they_were(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    file.save([KEY])
    (tmp_path / "keys.json.new").write_text('{"vers')
    assert list(KeyFile(tmp_path).load()[1]) == [KEY]
    file.save([])
    assert not KeyFile(tmp_path).load()[1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version": 2, "keys": []}',
        '{"version": 1, "keys": 7}',
        '{"version": 1, "keys": [{"key_id": "a"}]}',
        '{"version": 1, "keys": [{"key_id": "a", "tenant": "t", "scopes": ["root"], "sha256": "' + "00" * 32 + '"}]}',
        '{"version": 1, "keys": [{"key_id": "a", "tenant": "t", "scopes": [], "sha256": "00"}]}',
    ],
)
def test_a_file_that_is_not_right_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(UnavailableError, match=r"keys\.json cannot be used") as caught:
        KeyFile(tmp_path).load()
    assert caught.value.hint


def test_an_admin_key_that_is_none_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "admin.key").write_text("\n")
    with pytest.raises(UnavailableError, match="does not hold an admin key"):
        KeyFile(tmp_path).load()
