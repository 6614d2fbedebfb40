"""`live.py FOLDER RULES`: alerts in a process of their own, for a test to kill; each line is how full a disk is."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from services.common.durable import Disk
from services.health.alerts.alerts import Alerts, Files
from services.health.alerts.child import ChildSender
from services.health.alerts.courier import Outside
from services.health.readings import Reading, Readings


def main() -> None:
    folder, rules = map(Path, sys.argv[1:])
    outside = Outside("box", time.time_ns, lambda _event, _facts: None, ChildSender())
    alerts = Alerts(Disk(), Files(folder, rules), outside)
    threading.Thread(target=alerts.run, daemon=True).start()
    for line in sys.stdin:
        reading = Reading.of("disk_used_percent", "/data", float(line), "")
        alerts.step(Readings((reading,)), time.time_ns())
        sys.stdout.write("seen\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
