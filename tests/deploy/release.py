"""The project as it lies here, laid into a machine as a release: /opt/appia and the units of deploy/systemd."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

PROJECT = Path(__file__).parents[2]
UNITS = PROJECT / "deploy/systemd"
RELEASE = Path("/opt/appia/releases/tested")
PACKAGES = RELEASE / f"lib/python{sysconfig.get_python_version()}/site-packages"
_COMMANDS = {
    "appia": "services.cli.main",
    "appia-health": "services.health.main",
    "appia-ingester": "services.ingester.main",
    "appia-mirror": "services.mirror.main",
    "appia-origin": "services.origin.main",
    "appia-rag": "services.rag.main",
}


def binds() -> dict[Path, Path]:
    """What a machine sees of this computer: the project, where its installation looks for it, and its packages."""
    return {PROJECT: PROJECT, Path(sysconfig.get_path("purelib")): PACKAGES}


def why_no_release(image: Path) -> str | None:
    """Why the packages of this Python cannot be used in a machine of `image`, in one sentence; None where they can."""
    python = f"python{sysconfig.get_python_version()}"
    if not (image / "usr/bin" / python).exists():
        return f"The machine's image has no {python}, for which the packages here were installed."
    return None


def lay_release(root: Path) -> None:
    """Put commands, units, user and folders into the machine whose `/` is `root`, while it is switched off."""
    release = root / RELEASE.relative_to("/")
    (release / "bin").mkdir(parents=True)
    (root / PACKAGES.relative_to("/")).mkdir(parents=True)
    (release / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    (release / "bin/python").symlink_to(f"/usr/bin/python{sysconfig.get_python_version()}")
    for name, module in _COMMANDS.items():
        script = release / "bin" / name
        script.write_text(
            f"#!{RELEASE}/bin/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)
    (root / "opt/appia/current").symlink_to("releases/tested")
    shutil.copytree(UNITS, root / "etc/systemd/system", dirs_exist_ok=True)
    for kind in ("sysusers.d", "tmpfiles.d"):
        shutil.copytree(UNITS / kind, root / "etc" / kind, dirs_exist_ok=True)
        shutil.rmtree(root / "etc/systemd/system" / kind)


def make_owners(root: Path) -> tuple[int, int]:
    """Make the user and the folders as systemd does at the start of a machine; gives user and group of appia."""
    for tool in (
        ("systemd-sysusers",),
        ("systemd-tmpfiles", "--create", "--prefix=/etc/appia", "--prefix=/var/lib/appia"),
    ):
        subprocess.run([tool[0], f"--root={root}", *tool[1:]], check=True, capture_output=True)
    lines = (root / "etc/passwd").read_text().splitlines()
    user, group = next(line.split(":")[2:4] for line in lines if line.startswith("appia:"))
    return int(user), int(group)
