"""Prometheus' own tool, for tests that check what it would be given."""

from __future__ import annotations

import shutil
import subprocess

import pytest

PROMTOOL = shutil.which("promtool") or ""
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="promtool (package prometheus) is not installed")


def promtool(*words: str, stdin: str = "") -> str:
    """What it finds wrong; empty where all is well."""
    done = subprocess.run([PROMTOOL, *words], input=stdin, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"{done.stdout}{done.stderr}" or f"status {done.returncode}"
