"""Ansible module: has systemd's services run with the files that are there now, and waits until they are ready."""

from __future__ import annotations

import http.client
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: appia_services
short_description: Have services run with the files that are there now, and wait until they are ready
description:
  - A service is restarted where a file that it reads at its start is newer than that start. This needs no memory
    of what another task changed, so a run that was broken off leaves nothing that the next one would not see.
  - Services are taken in the order that is given, each only after the one before is ready.
options:
  services:
    description:
      - Each with C(unit), C(inputs) (files that it reads at its start; what is not there counts as unchanged) and
        C(ready) (a URL that answers 200 when the service does its work; without one systemd's word is enough).
    type: list
    elements: dict
    required: true
  state:
    description: Whether they run and begin with the machine, or do neither.
    choices: [started, stopped]
    default: started
  wait:
    description: Whether to wait until they are ready.
    type: bool
    default: true
  within_s:
    description: Seconds that each may take.
    type: int
    default: 60
author: appia
"""

POLL_S = 0.2
ANSWER_S = 5
MOST_STARTS = 3
SHOWN_LINES = 15
HTTP_OK = 200
TARGET = "appia.target"
ASKED = (
    "ActiveState,SubState,UnitFileState,LoadState,NeedDaemonReload,ExecMainStartTimestampMonotonic,NRestarts"
)


@dataclass(frozen=True)
class State:
    """What systemd says of a unit."""

    facts: dict[str, str]

    def active(self) -> bool:
        """Whether it runs and has said so."""
        return self.facts["ActiveState"] == "active"

    def on_its_way(self) -> bool:
        """Whether it runs, or begins to: a first member of etcd is not active before there are others."""
        return (
            self.facts["ActiveState"] in {"active", "activating", "reloading"}
            and not self.waits_for_another_try()
        )

    def waits_for_another_try(self) -> bool:
        """Whether it ended by itself, and systemd will begin it again."""
        return self.facts["SubState"] == "auto-restart"

    def enabled(self) -> bool:
        """Whether it begins with the machine."""
        return self.facts["UnitFileState"] in {"enabled", "alias", "static", "generated"}

    def there(self) -> bool:
        """Whether systemd knows the unit."""
        return self.facts["LoadState"] not in {"not-found", "masked"}

    def began(self) -> float:
        """When its main process began, seconds since the epoch by the clock as it goes now."""
        return time.time() - (
            time.monotonic() - int(self.facts["ExecMainStartTimestampMonotonic"] or 0) / 1e6
        )

    def restarts(self) -> int:
        """How often systemd began it again since somebody last asked for it."""
        return int(self.facts["NRestarts"] or 0)

    def failed(self) -> bool:
        """Whether it ended, and will not be begun again."""
        return self.facts["ActiveState"] == "failed"


class Systemd:
    """The service manager, by its command."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module

    def state(self, unit: str) -> State:
        """What it says of a unit."""
        output = self.call("show", "--property", ASKED, "--", unit)
        return State(dict(line.partition("=")[::2] for line in output.splitlines()))

    def call(self, *words: str) -> str:
        """Run a command of systemctl that has to end well."""
        status, output, errors = self._module.run_command(["systemctl", *words])
        if status:
            self._module.fail_json(msg=f"systemctl {' '.join(words)}: {(errors or output).strip()}")
        return str(output)

    def last_lines(self, unit: str) -> str:
        """What the unit logged last."""
        command = ["journalctl", "--unit", unit, "--lines", str(SHOWN_LINES), "--output", "cat", "--no-pager"]
        return str(self._module.run_command(command)[1])


def newer(paths: list[str], when: float) -> list[str]:
    """Which files were changed after a time; a link is looked at itself."""
    return [path for path in paths if os.path.lexists(path) and Path(path).lstat().st_mtime > when]


def answers(url: str) -> bool:
    """Whether a URL on this machine answers 200."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_S)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == HTTP_OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Services:
    """Brings services to what is wanted, and keeps what it did."""

    def __init__(self, module: AnsibleModule, systemd: Systemd) -> None:
        self.did: list[str] = []
        self._module = module
        self._systemd = systemd

    def start(self, service: dict[str, Any]) -> None:
        """Have it begin with the machine, and run since its files are as they are."""
        unit = service["unit"]
        state = self._systemd.state(unit)
        other_unit = self._reload(unit, state)
        if not state.enabled():
            self._do(f"enabled {unit}", "enable", unit)
        if not state.on_its_way():
            self._do(f"started {unit}", "--no-block", "restart", unit)
        elif changed := [*other_unit, *newer(service.get("inputs", []), state.began())]:
            self._do(f"restarted {unit}: {', '.join(changed)}", "--no-block", "restart", unit)

    def gather(self, services: list[dict[str, Any]]) -> None:
        """Have the target run with services of appia: only one that runs stops them together."""
        ours = any(service["unit"].startswith("appia-") for service in services)
        if ours and not self._systemd.state(TARGET).active():
            self._do(f"started {TARGET}", "--no-block", "start", TARGET)

    def stop(self, service: dict[str, Any]) -> None:
        """Have it neither run nor begin with the machine."""
        unit = service["unit"]
        state = self._systemd.state(unit)
        if not state.there():
            return
        if state.enabled():
            self._do(f"disabled {unit}", "disable", unit)
        if state.facts["ActiveState"] not in {"inactive", "failed"}:
            self._do(f"stopped {unit}", "stop", unit)

    def await_ready(self, service: dict[str, Any], within_s: float) -> None:
        """Wait until it does its work; fails with what it logged last."""
        unit, url = service["unit"], service.get("ready", "")
        until = time.monotonic() + within_s
        before = self._systemd.state(unit).restarts()
        while True:
            state = self._systemd.state(unit)
            if state.active() and (not url or answers(url)):
                return
            gives_up = state.failed() or state.restarts() >= before + MOST_STARTS
            if gives_up or time.monotonic() > until:
                break
            time.sleep(POLL_S)
        what = "does not start" if not state.active() else f"was not ready within {within_s} s ({url})"
        self._module.fail_json(
            msg=f"{unit} {what}. It logged last:\n{self._systemd.last_lines(unit)}", did=self.did
        )

    def _reload(self, unit: str, state: State) -> list[str]:
        """Have systemd read the unit where it is another by now; gives why the service has to be begun anew, if so."""
        if state.facts["NeedDaemonReload"] != "yes" and state.there():
            return []
        if not self._module.check_mode:
            self._systemd.call("daemon-reload")
            if not self._systemd.state(unit).there():
                self._module.fail_json(msg=f"There is no unit {unit} on this node.")
        return ["its unit"]

    def _do(self, what: str, *words: str) -> None:
        self.did.append(what)
        if not self._module.check_mode:
            self._systemd.call(*words)


def main() -> None:
    """Take the services one by one."""
    module = AnsibleModule(
        argument_spec={
            "services": {"type": "list", "elements": "dict", "required": True},
            "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
            "wait": {"type": "bool", "default": True},
            "within_s": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    services = Services(module, Systemd(module))
    for service in module.params["services"]:
        if module.params["state"] == "stopped":
            services.stop(service)
            continue
        services.start(service)
        if module.params["wait"] and not module.check_mode:
            services.await_ready(service, module.params["within_s"])
    if module.params["state"] == "started":
        services.gather(module.params["services"])
    module.exit_json(changed=bool(services.did), did=services.did)


if __name__ == "__main__":
    main()
