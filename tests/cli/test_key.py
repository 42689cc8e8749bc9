from __future__ import annotations

import json


def test_a_key_is_made_listed_used_and_revoked(shared_daemon):
    secret = shared_daemon.cli(
        "key", "create", "--name", "cli", "--tenant", "of-cli", "--expires", "2h", "--max-running", "5"
    ).stdout
    assert secret.startswith("tm_") and secret.count("\n") == 1
    secret = secret.strip()
    key_id = secret.split("_", 2)[1]
    [listed] = [line.split("\t") for line in shared_daemon.cli("key", "ls", "--tenant", "of-cli").stdout.splitlines()]
    assert listed[:4] == [key_id, "cli", "of-cli", "submit,read,control,files"]
    assert listed[4].startswith("valid for") and listed[6] == "runningCount=5"
    token = shared_daemon.cli("submit", "--", "true", env={"TASKMETER_KEY": secret}).stdout.strip()
    assert shared_daemon.cli("wait", "-q", token, env={"TASKMETER_KEY": secret}).returncode == 0
    foreign = shared_daemon.cli("status", token)
    assert foreign.returncode == 3 and "Traceback" not in foreign.stderr
    denied = shared_daemon.cli("key", "ls", env={"TASKMETER_KEY": secret})
    assert denied.returncode == 3 and "may not call" in denied.stderr
    assert shared_daemon.cli("key", "revoke", secret).stdout == f"revoked {key_id}\n"
    refused = shared_daemon.cli("ls", env={"TASKMETER_KEY": secret})
    assert refused.returncode != 0 and "revoked" in refused.stderr and secret not in refused.stderr
    assert shared_daemon.cli("key", "ls", "--tenant", "of-cli").stdout == ""
    [gone] = shared_daemon.cli("key", "ls", "--tenant", "of-cli", "--all").stdout.splitlines()
    assert "revoked" in gone


def test_json_of_the_key_verbs(shared_daemon):
    made = json.loads(shared_daemon.cli("key", "create", "--json", "--tenant", "of-json", "--scope", "read").stdout)
    assert set(made) == {"secret", "key"}
    expected = {"keyId", "name", "tenant", "scopes", "createTime", "expireTime", "revokeTime", "quotas", "rate"}
    assert set(made["key"]) == expected and made["key"]["scopes"] == ["read"] and made["key"]["quotas"] is None
    [listed] = json.loads(shared_daemon.cli("key", "ls", "--json", "--tenant", "of-json").stdout)
    assert listed == made["key"]
    [revoked] = json.loads(shared_daemon.cli("key", "revoke", "--json", listed["keyId"]).stdout)
    assert revoked["revokeTime"] > 0


def test_a_mistake_is_named(shared_daemon):
    unknown = shared_daemon.cli("key", "revoke", "0123456789ab")
    assert unknown.returncode == 3 and "no key with this id" in unknown.stderr and "key ls" in unknown.stderr
    wrong = shared_daemon.cli("key", "create", "--tenant", "NOT GOOD")
    assert wrong.returncode == 2 and "tenant" in wrong.stderr
    admin = shared_daemon.cli("key", "revoke", "admin")
    assert admin.returncode == 2 and "admin.key" in admin.stderr
    assert "create" in shared_daemon.cli("key", "--help").stdout
