"""Writes the bill of materials: `python make/sbom.py FILE` (CycloneDX 1.6, JSON), from the lock file alone.

cyclonedx-py lists what `requirements/lock.txt` has, with the hashes that pip compares. This adds what it leaves out:
which package is there because of which other, on what systems, and the models that are shipped. Nothing is fetched;
the same checkout gives the same file.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK = Path("requirements", "lock.txt")
SHIPPED = Path("models", "shipped")
# An entry of the lock: `name==version ; condition \`, its hashes, and `# via` with what needs it.
ENTRY = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?: ; (?P<when>.+?))? \\\n(?P<rest>(?:    .*\n?)+)", re.MULTILINE
)
NEEDED_BY = re.compile(r"^ +# +(?:via +)?(?P<name>-r \S+|[\w.-]+)(?: \(.*\))?$", re.MULTILINE)


def bill_of(root: Path) -> dict[str, Any]:
    """The whole bill of the project at `root`."""
    bill = listed(root)
    bill["metadata"]["component"]["bom-ref"] = "appia"
    bill["components"] = [*packages(root, bill["components"]), *models(root)]
    needs = dependencies(root) | {model["bom-ref"]: [] for model in models(root)}
    needs["appia"] += [model["bom-ref"] for model in models(root)]
    bill["dependencies"] = [{"ref": ref, "dependsOn": sorted(set(on))} for ref, on in sorted(needs.items())]
    return bill


def listed(root: Path) -> dict[str, Any]:
    """What cyclonedx-py makes of the lock file."""
    tool = str(Path(sysconfig.get_path("scripts"), "cyclonedx-py"))
    project = root / "pyproject.toml"
    command = [tool, "requirements", "--output-reproducible", "--pyproject", str(project), str(root / LOCK)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"sbom: cyclonedx-py failed: {done.stderr.strip()}")
    bill: dict[str, Any] = json.loads(done.stdout)
    return bill


def entries(root: Path) -> Iterator[tuple[str, str, str, list[str]]]:
    """Each entry of the lock: its name, its version, on what systems it is wanted, and what needs it."""
    for found in ENTRY.finditer((root / LOCK).read_text(encoding="utf-8")):
        needed_by = [name for name in NEEDED_BY.findall(found["rest"]) if name != "via"]
        yield found["name"], found["version"], found["when"] or "", needed_by


def packages(root: Path, components: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The packages under their own names instead of line numbers, with the condition of each."""
    conditions = {reference(name, version): when for name, version, when, _ in entries(root)}
    if sorted(conditions) != sorted(component["purl"] for component in components):
        sys.exit(f"sbom: cyclonedx-py and this script do not read the same packages in {LOCK}")
    for component in components:
        ref = component["purl"]
        kept = {key: value for key, value in component.items() if key != "description"}
        when = (
            {"properties": [{"name": "appia:condition", "value": conditions[ref]}]} if conditions[ref] else {}
        )
        yield {**kept, "bom-ref": ref, **when}


def models(root: Path) -> Iterator[dict[str, Any]]:
    """The models that are shipped, by their manifests."""
    for path in sorted((root / SHIPPED).glob("*/manifest.json")):
        manifest = json.loads(path.read_bytes())
        (sha256,) = manifest["files"].values()
        yield {
            "type": "machine-learning-model",
            "bom-ref": f"model:{manifest['name']}",
            "name": manifest["name"],
            "version": manifest["version"],
            "hashes": [{"alg": "SHA-256", "content": sha256}],
            "licenses": [{"license": {"name": manifest["licence"]}}],
        }


def dependencies(root: Path) -> dict[str, list[str]]:
    """What each package needs, by reference; a name that is there in two versions stands for both."""
    found = list(entries(root))
    refs: dict[str, list[str]] = {"appia": ["appia"]}
    for name, version, _, _ in found:
        refs.setdefault(name, []).append(reference(name, version))
    needs: dict[str, list[str]] = {ref: [] for of_name in refs.values() for ref in of_name}
    for name, version, _, needed_by in found:
        # `-r requirements/build.in`: what builds the project itself is of the project.
        for parent in (ref for by in needed_by for ref in refs.get(by, ["appia"])):
            needs[parent].append(reference(name, version))
    return needs


def reference(name: str, version: str) -> str:
    """The package URL, as https://github.com/package-url/purl-spec has it for Python packages."""
    return f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version}"


def main() -> None:
    """Write the bill to the file named on the command line, after it was checked against the schema."""
    root, target = Path(__file__).resolve().parents[1], Path(sys.argv[1])
    bill = bill_of(root)
    text = json.dumps(bill, indent=1, sort_keys=True) + "\n"
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if fault is not None:
        sys.exit(f"sbom: the bill does not fit the schema of CycloneDX 1.6: {fault}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    print(f"{target}: {len(bill['components'])} components, CycloneDX 1.6")


if __name__ == "__main__":
    main()
