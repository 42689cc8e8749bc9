from __future__ import annotations

import json
from pathlib import Path

import pytest

from taskmeter.client import discovery
from taskmeter.errors import UnavailableError


def served(directory: Path, *targets: str, key: str = "secret") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    record = {"pid": 1, "version": "0.1.0", "grpc": list(targets), "http": [], "start_time": 1.0}
    (directory / "daemon.json").write_text(json.dumps(record))
    (directory / "admin.key").write_text(key + "\n")
    return directory


def test_arguments_win_over_everything(tmp_path):
    environ = {"TASKMETER_TARGET": "elsewhere:1", "TASKMETER_KEY": "k", "TASKMETER_STATE_DIR": str(tmp_path)}
    endpoint = discovery.find("here:2", "mine", environ=environ)
    assert (endpoint.target, endpoint.key) == ("here:2", "mine")
    other = served(tmp_path / "other", "unix:/x/daemon.sock")
    assert discovery.find(state_dir=other, environ=environ).target == "unix:/x/daemon.sock"


def test_the_target_of_the_environment_wins_over_the_state_directory(tmp_path):
    served(tmp_path, "unix:/x/daemon.sock")
    environ = {"TASKMETER_TARGET": "elsewhere:1", "TASKMETER_KEY": "k", "TASKMETER_STATE_DIR": str(tmp_path)}
    endpoint = discovery.find(environ=environ)
    assert (endpoint.target, endpoint.key) == ("elsewhere:1", "k")


def test_the_unix_socket_is_preferred_and_the_key_comes_from_its_directory(tmp_path):
    served(tmp_path, "127.0.0.1:4000", "unix:/x/daemon.sock")
    endpoint = discovery.find(environ={"TASKMETER_STATE_DIR": str(tmp_path)})
    assert (endpoint.target, endpoint.key, endpoint.state_dir) == ("unix:/x/daemon.sock", "secret", tmp_path)


def test_the_admin_key_is_not_sent_to_a_foreign_target(tmp_path):
    served(tmp_path, "unix:/x/daemon.sock", "127.0.0.1:4000")
    environ = {"TASKMETER_STATE_DIR": str(tmp_path)}
    assert discovery.find("evil.example:443", environ=environ).key == ""
    assert discovery.find("unix:/tmp/evil.sock", environ=environ).key == ""
    assert discovery.find("127.0.0.1:4000", environ=environ).key == "secret"
    assert discovery.find("unix:/x/daemon.sock", environ=environ).key == "secret"


def test_the_key_beside_a_socket_belongs_to_it(tmp_path):
    served(tmp_path, "unix:/elsewhere")
    assert discovery.find(f"unix:{tmp_path}/daemon.sock", environ={"TASKMETER_STATE_DIR": "/nowhere"}).key == "secret"


def test_no_daemon_ever_is_an_error_that_names_the_directory(tmp_path):
    with pytest.raises(UnavailableError, match=str(tmp_path)):
        discovery.find(state_dir=tmp_path, environ={})


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "x"}', '{"pid": 1, "grpc": 5}', "null"])
def test_a_damaged_record_counts_as_none(tmp_path, text):
    (tmp_path / "daemon.json").write_text(text)
    assert discovery.read_record(tmp_path) is None


def test_the_default_directory_follows_the_environment(tmp_path):
    assert discovery.default_state_dir({"TASKMETER_STATE_DIR": str(tmp_path / "a")}) == tmp_path / "a"
    assert discovery.default_state_dir({"XDG_STATE_HOME": str(tmp_path)}) == tmp_path / "taskmeter"
    assert discovery.default_state_dir({}) == Path("~/.local/state/taskmeter").expanduser()


def test_the_key_is_hidden_in_repr():
    assert "secret" not in repr(discovery.Endpoint("t", "secret"))


@pytest.mark.parametrize("path", ["/run/daemon.sock", "/with space/100%/d.sock", "/ünï/d.sock"])
def test_socket_paths_survive_being_a_target(path):
    assert discovery.socket_path(discovery.unix_target(path)) == path


def test_both_forms_of_a_unix_target_are_read():
    assert discovery.socket_path("unix:///run/x") == discovery.socket_path("unix:/run/x") == "/run/x"
    assert discovery.socket_path("localhost:80") is None
