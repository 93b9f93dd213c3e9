"""Check that what Culvert is built on works on this machine, and print a table of it.

Run by ``scripts/setup`` with the environment's own interpreter; uses nothing but the standard
library and what it checks. Exit status 1 when a line of the table failed. With
``--missing-packages`` it only prints the requirements of pyproject.toml that are not met.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"


class CheckError(Exception):
    """One check failed; the message says what was seen and what to do."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table. ``run`` returns what was found or raises ``CheckError``."""

    subject: str
    run: Callable[[], str]


def requirements() -> list[Requirement]:
    """What pyproject.toml asks for, with everything optional."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        lines += extra
    return [Requirement(line) for line in lines]


def unmet_requirements() -> Iterator[str]:
    """Requirements whose package is absent or has another version."""
    for requirement in requirements():
        try:
            version = distribution(requirement.name).version
        except PackageNotFoundError:
            yield f"{requirement} (not installed)"
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement} (found {version})"


def _top_level_modules(package: Distribution) -> set[str]:
    parts = (Path(file).parts for file in package.files or ())
    return {
        name.removesuffix(".py")
        for name, *rest in parts
        if (rest and rest[-1] == "__init__.py" and len(rest) == 1) or name.endswith(".py")
    }


def shadowed_packages() -> Iterator[str]:
    """Packages with a module that Python takes from somewhere else than the version we checked."""
    for requirement in requirements():
        package = distribution(requirement.name)
        home = Path(str(package.locate_file(""))).resolve()
        for module in sorted(_top_level_modules(package)):
            spec = find_spec(module)
            if spec and spec.origin and home not in Path(spec.origin).resolve().parents:
                yield f"{module} comes from {spec.origin}, not from {home}"


def check_python_packages() -> str:
    """Every requirement is met, by the very packages that are imported."""
    if unmet := list(unmet_requirements()):
        raise CheckError("not met: " + "; ".join(unmet) + " → scripts/setup")
    if shadowed := list(shadowed_packages()):
        raise CheckError("; ".join(shadowed) + " → unset PYTHONPATH, remove the other copy")
    return f"{len(requirements())} requirements met"


def check_bcc() -> str:
    """BCC compiles a program and the kernel takes it."""
    try:
        from bcc import BPF, __version__
        from culvert.redirect.headers import headers_for_bcc
    except ImportError as error:
        remedy = "apt-get install python3-bpfcc" if error.name == "bcc" else "scripts/setup"
        raise CheckError(f"{error} → {remedy}") from error
    with headers_for_bcc() as found:
        if not found:
            raise CheckError("no kernel headers → apt-get install linux-headers-<architecture>")
        try:
            module = BPF(text=b"int probe(struct bpf_sock_addr *ctx) { return 1; }")
            module.load_func(b"probe", BPF.CGROUP_SOCK_ADDR, attach_type=10)
        except Exception as error:  # BCC raises bare Exception
            raise CheckError(
                f"{error} → see the messages above; in a container, run it with --privileged"
            ) from error
    return f"{__version__}, a program was compiled and loaded"


def _first_line(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CheckError(f"{argv[0]} does not run: {error}") from error
    lines = (done.stdout + done.stderr).strip().splitlines()
    if not lines:
        raise CheckError(f"{' '.join(argv)} printed nothing, exit status {done.returncode}")
    return lines[0]


def check_envoy() -> str:
    """The pinned Envoy starts."""
    # "envoy  version: <commit>/<version>/<state>/<type>/<tls library>"
    line = _first_line(str(BIN / "envoy"), "--version")
    match line.rpartition("version: ")[2].split("/"):
        case [_, version, *_]:
            return version
    raise CheckError(f"unexpected answer of envoy --version: {line}")


def check_network_namespaces() -> str:
    """Network namespaces can be made."""
    argv = ["unshare", "--net", "true"]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        raise CheckError("refused → run as root; in a container, with --privileged")
    return "can be made"


CHECKS = (
    Check("Python packages", check_python_packages),
    Check("BCC", check_bcc),
    Check("Envoy", check_envoy),
    Check("clang", lambda: _first_line("clang", "--version")),
    Check("bpftool", lambda: _first_line("bpftool", "version")),
    Check("wrk", lambda: _first_line("wrk", "-v").partition(" Copyright")[0]),
    Check("network namespaces", check_network_namespaces),
)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--missing-packages", action="store_true")
    if parser.parse_args().missing_packages:
        for line in unmet_requirements():
            print(line)
        return 0
    failed = False
    width = max(len(check.subject) for check in CHECKS)
    for check in CHECKS:
        try:
            mark, found = "✓", check.run()
        except CheckError as error:
            mark, found, failed = "✗", str(error), True
        print(f"  {mark} {check.subject:<{width}}  {found}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
