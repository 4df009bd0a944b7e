"""Lock files: both distributions' dependencies with an extra, pinned and hashed, one file for Python 3.11 to 3.13.

One more file has the lowest version of each direct dependency that a pyproject.toml allows; `make test-lowest` uses it.
Our own two distributions are in none of them.

``python .ci/lock.py`` compiles them with uv. ``--check`` needs no network: each file's first lines hold a digest of
what it was compiled from, and every direct dependency must be pinned in it to a version that its bounds allow.
``--upgrade`` takes the newest versions instead of keeping those already locked.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = ("pyproject.toml", "producers/pyproject.toml")
OWN = ("order-execution-worker", "order-execution-producers")
LOCKS = {
    "requirements.lock": "dev",
    "requirements-demo.lock": "demo",
    "requirements-ccxt.lock": "ccxt",
    "requirements-worker.lock": "desk",
}
"""Extra by lock file; the first holds everything, and the others take their versions from it."""
LOWEST = "requirements-lowest.lock"
"""Everything, with direct dependencies in their lowest versions and the rest as in the first file."""
COMPILED = {**LOCKS, LOWEST: "dev"}
LOWEST_PYTHON = "3.11"
DIGEST = re.compile(r"^# inputs: sha256:([0-9a-f]{64})$", re.MULTILINE)
PINNED = re.compile(r"^([a-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def main(arguments: list[str]) -> int:
    """Write or check the lock files. Returns the exit code."""
    project = read_project()
    if "--check" in arguments:
        problems = [problem for name, extra in COMPILED.items() for problem in stale(ROOT / name, project, extra)]
        for problem in problems:
            sys.stderr.write(f"{problem}\nrun `make lock` and commit the result\n")
        return 1 if problems else 0
    uv = shutil.which("uv", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
    if uv is None:
        sys.stderr.write("make lock needs uv: install it (`pip install uv`) and try again\n")
        return 2
    for name, extra in COMPILED.items():
        compile_lock(uv, name, project, extra, upgrade="--upgrade" in arguments)
    return 0


def read_project() -> dict[str, Any]:
    """The root pyproject.toml with the producers' dependencies as its own; its only other one is on them.

    Both distributions have the same build requirements and Python versions.
    """
    root, producers = (tomllib.loads((ROOT / name).read_text(encoding="utf-8")) for name in PROJECTS)
    root["project"]["dependencies"] = producers["project"]["dependencies"]
    return root


def inputs_digest(project: dict[str, Any], extra: str) -> str:
    """SHA-256 of what the lock of ``extra`` is compiled from: bounds, build requirements, and Python versions."""
    tables = project["project"]
    inputs = {
        "build": project["build-system"]["requires"],
        "python": tables["requires-python"],
        "base": tables["dependencies"],
        "extras": closure(tables["optional-dependencies"], extra),
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def closure(extras: dict[str, list[str]], extra: str) -> dict[str, list[str]]:
    """The requirements of ``extra`` and of the project's own extras that it names, by extra."""
    found = {extra: sorted(extras[extra])}
    for requirement in extras[extra]:
        own = re.fullmatch(r"order-execution-worker\[([a-z,-]+)\]", requirement)
        for named_extra in own[1].split(",") if own else ():
            found.update(closure(extras, named_extra))
    return found


def stale(path: Path, project: dict[str, Any], extra: str) -> list[str]:
    """What is wrong with a lock file, one sentence each."""
    if not path.is_file():
        return [f"{path.name} is missing"]
    text = path.read_text(encoding="utf-8")
    digest = DIGEST.search(text)
    if digest is None or digest[1] != inputs_digest(project, extra):
        return [f"{path.name} was compiled from other dependencies than the two pyproject.toml name now"]
    return [f"{path.name}: {problem}" for problem in violated(text, project, extra)]


def violated(text: str, project: dict[str, Any], extra: str) -> list[str]:
    """Direct dependencies that the lock lacks, or pins outside their bounds."""
    from packaging.requirements import Requirement

    pinned = {name.replace("_", "-"): version for name, version in PINNED.findall(text)}
    tables = project["project"]
    direct = [Requirement(r) for r in named(tables, extra)]
    return [
        f"{r.name} is pinned to {pinned.get(r.name.lower(), 'nothing')}, outside '{r}'"
        for r in direct
        if not r.specifier.contains(pinned.get(r.name.lower(), "0.dev0"), prereleases=True)
    ]


def named(tables: dict[str, Any], extra: str) -> list[str]:
    """The direct dependencies, of the base and of ``extra``, without the project's own extras that it names."""
    groups = closure(tables["optional-dependencies"], extra).values()
    found = [*tables["dependencies"], *(requirement for group in groups for requirement in group)]
    return [requirement for requirement in found if name_of(requirement) not in OWN]


def name_of(requirement: str) -> str:
    """The distribution that a requirement is about."""
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower()


def unnamed_pins(project: dict[str, Any], extra: str) -> str:
    """The first lock's pins of indirect dependencies: uv keeps them where the lowest direct versions permit."""
    direct = set(map(name_of, named(project["project"], extra)))
    pins = PINNED.findall((ROOT / next(iter(LOCKS))).read_text(encoding="utf-8"))
    return "".join(f"{name}=={version}\n" for name, version in pins if name not in direct)


def compile_lock(uv: str, name: str, project: dict[str, Any], extra: str, *, upgrade: bool) -> None:
    """Compile one lock file. Index addresses stay out of it: where packages come from is the machine's business."""
    whole, path = next(iter(LOCKS)), ROOT / name
    if name == LOWEST:
        path.write_text(unnamed_pins(project, extra), encoding="utf-8")
    options = [
        *("--universal", "--python-version", LOWEST_PYTHON, "--generate-hashes", "--no-header"),
        *("--no-emit-index-url", "--no-emit-find-links", "--no-emit-index-annotation", "--quiet"),
        *(["--upgrade"] if upgrade and name != LOWEST else []),
        *(["--constraints", whole] if name not in (whole, LOWEST) else []),
        *(["--resolution", "lowest-direct"] if name == LOWEST else []),
    ]
    # The build requirements are locked too, so that building the project downloads nothing that is not pinned.
    requirements = [*named(project["project"], extra), *project["build-system"]["requires"]]
    subprocess.run(  # noqa: S603 - our own arguments
        [uv, "pip", "compile", *options, "--output-file", name, "-"],
        input="\n".join(requirements),
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        check=True,
    )
    header = (
        f"# Made by `make lock` from {' and '.join(PROJECTS)}, extra `{extra}`, for Python {LOWEST_PYTHON} and later.\n"
        f"# inputs: sha256:{inputs_digest(project, extra)}\n"
    )
    path.write_text(header + path.read_text(encoding="utf-8"), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
