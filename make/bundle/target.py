"""What a bundle is for: a processor, a release of Debian, and its Python; and which wheels fit (PEP 425, PEP 600)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.tags import Tag, compatible_tags, cpython_tags

if TYPE_CHECKING:
    from collections.abc import Iterator

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's name of a processor, and the kernel's."""
SUITES = {"bookworm": ("3.11", 36), "trixie": ("3.13", 41)}
"""Of each release of Debian its Python, and the minor version of its C library (2.36, 2.41)."""
OLDEST_GLIBC = 17


@dataclass(frozen=True)
class Target:
    """One kind of machine."""

    arch: str
    suite: str
    python: str

    @property
    def machine(self) -> str:
        """What `uname -m` says there."""
        return MACHINES[self.arch]

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version of Python."""
        major, minor = self.python.split(".")
        return int(major), int(minor)

    @property
    def platforms(self) -> list[str]:
        """Platform tags that its C library can run, the newest first."""
        newest = SUITES[self.suite][1]
        tags = [f"manylinux_2_{minor}_{self.machine}" for minor in range(newest, OLDEST_GLIBC - 1, -1)]
        return [*tags, f"manylinux2014_{self.machine}", f"linux_{self.machine}"]

    def tags(self) -> Iterator[Tag]:
        """Tags of wheels that run there, the best first."""
        yield from cpython_tags(self.version, platforms=self.platforms)
        yield from compatible_tags(self.version, f"cp{self.python.replace('.', '')}", self.platforms)

    def environment(self) -> dict[str, str]:
        """What the conditions of a lock are compared with (PEP 508)."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }
