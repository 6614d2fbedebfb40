"""Builds the images and runs docker-compose.yml on a machine without a container engine of its own. `make containers`.

    python -m make.containers --bundle dist/appia-bundle-0.1.0-amd64 --report FILE

The base image is made by debootstrap, so nothing comes from an image registry. Containers have a network of their own,
which cannot be seen from this machine; the store of images is kept for the next run.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from make.containers.images import APPIA, ETCD, ROOT, Images
from make.containers.podman import ENTERED, Podman, why_not
from make.containers.report import Failed, Report
from make.containers.scenario import Scenario
from make.containers.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_RUN = (
    "Docker and `docker compose`: there is none on this machine. The file was run by podman-compose.",
    "That limits of memory and processes are kept: control groups cannot be written here. They are accepted.",
    "Health checks and restarts by systemd, which podman uses: the checks of the file were run by this program.",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run everything; gives the exit status."""
    options = _parser().parse_args(argv)
    if fault := why_not():
        print(f"make containers: {fault}", file=sys.stderr)
        return 2
    podman = Podman(options.folder.resolve())
    if not options.inside:
        podman.prepare()
        command = [sys.executable, "-m", "make.containers", "--inside", *(argv or sys.argv[1:])]
        images = Images(podman, options.suite, options.bundle)
        report = Report()
        try:
            _build(report, images)
        except Failed:
            return 1
        environment = {**os.environ, "APPIA_BUILT": "\n".join(report.rows())}
        entered = ["unshare", "--mount", "--net", "sh", "-c", ENTERED, "sh"]
        return subprocess.run([*entered, *command], cwd=ROOT, env=environment, check=False).returncode
    return _inside(podman, options.report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make containers", description=__doc__)
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "appia" / "containers"
    parser.add_argument("--folder", type=Path, default=folder, help="where images are kept")
    parser.add_argument("--suite", default="bookworm", help="release of Debian")
    parser.add_argument(
        "--bundle", default="", help="folder of `make bundle`, below the project, to build from"
    )
    parser.add_argument("--report", type=Path, help="file for the report, Markdown")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser


def _build(report: Report, images: Images) -> None:
    with report.step("debootstrap, podman import: the base image") as step:
        step.seen = images.make_base()
    with report.step("buildah build --target runtime") as step:
        step.seen = images.build("runtime", APPIA)
    with report.step("buildah build --target etcd") as step:
        step.seen = images.build("etcd", ETCD)
    with report.step("the final image") as step:
        step.seen = images.look()


def _inside(podman: Podman, target: Path | None) -> int:
    report, stack = Report(not_run=list(NOT_RUN)), Stack(podman)
    with suppress(Failed):
        try:
            stack.down(volumes=True)
            Scenario(stack, report).run()
        finally:
            stack.down(volumes=True)
    if target is not None:
        target.write_text(_markdown(report, podman.run(["podman", "--version"]).strip()), "utf-8")
    return int(report.failed)


def _markdown(report: Report, version: str) -> str:
    machine = f"{platform.machine()}, Linux {platform.release().split('-')[0]}, {os.cpu_count()} processors"
    lines = [
        f"Written by `make containers` on {dt.datetime.now(dt.UTC).date()}: {machine}, {version}, podman-compose."
    ]
    built = [row for row in os.environ.get("APPIA_BUILT", "").splitlines() if row]
    text = report.to_markdown("Containers: what was built and run", lines)
    return text.replace("| --- | --- | --- |\n", "\n".join(["| --- | --- | --- |", *built, ""]), 1)


if __name__ == "__main__":
    sys.exit(main())
