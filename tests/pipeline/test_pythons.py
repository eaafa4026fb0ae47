"""The whole sample is the same bytes under every Python of this machine, and in other surroundings."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages.pipeline.verbs import VERBS
from tests.helpers.places import REPOSITORY

pytestmark = pytest.mark.slow

DATASETS = sorted(yaml.safe_load((REPOSITORY / "params.yaml").read_text())["datasets"])
PACKAGES = ("joblib", "msgspec", "numpy", "psutil", "pyarrow", "pyyaml", "rich")  # what the verbs import; no DVC
PLACES = ("/usr/bin", "/usr/local/bin", "~/.pyenv/versions/*/bin", "~/.local/share/uv/python/*/bin")
ASK = "import sys, venv, ensurepip; print(sys.version.split()[0])"


def other_pythons():
    """Return an interpreter of each other version from 3.11 to 3.13 that can make an environment, by its version."""
    found = {}
    for place in PLACES:
        pattern = Path(place).expanduser().relative_to("/")
        for path in sorted(Path("/").glob(f"{pattern}/python3.1[123]")):
            done = subprocess.run([path, "-c", ASK], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                found.setdefault(done.stdout.strip(), path)
    return {version: path for version, path in found.items() if version != sys.version.split()[0]}


def pinned_versions(folder):
    """Write the pinned versions without the hashes, so that pip takes only what is asked for, into a file."""
    text = (REPOSITORY / ".requirements.txt").read_text()
    path = folder / "versions.txt"
    path.write_text("\n".join(re.findall(r"^[\w.-]+==[^ ]+", text, re.MULTILINE)))
    return path


def recorded():
    """Return the digest of each output that dvc.lock records, by its path, and of the batch lists."""
    stages = yaml.load((REPOSITORY / "dvc.lock").read_text(), Loader=yaml.CSafeLoader)["stages"]
    return {out["path"]: out["md5"] for entry in stages.values() for out in entry["outs"]}


def md5(path):
    """Return the digest of a file, or of a folder as DVC takes it: of the JSON of its files' digests."""
    if path.is_file():
        return hashlib.md5(path.read_bytes()).hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    entries = [{"md5": md5(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    listing = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True)
    return f"{hashlib.md5(listing.encode()).hexdigest()}.dir"


def outputs(folder, python, samples=None, **variables):
    """Run all verbs over all samples in an empty folder; return the digests of what is in dvc.lock, by path.

    `samples`, where they were made before, has that of hex, which no float decides and which takes longest.
    """
    shutil.copytree(REPOSITORY / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "params.yaml", folder)
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LOG": "error", **variables}
    if samples:
        shutil.copytree(samples / "hex", folder / "data/sample/hex")
    for dataset in DATASETS:
        for verb in VERBS[1:] if samples and dataset == "hex" else VERBS:
            command = [python, "-m", f"stages.{verb}", dataset]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    return {path: md5(folder / path) for path in recorded()}


def other_surroundings():
    """Return variables: no SIMD kernels, another zone, locale and hash seed, two processes."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    kernels = " ".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))
    place = {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    return {"NPY_DISABLE_CPU_FEATURES": kernels, **place, "BACKEND": "loky", "JOBS": "2"}


@pytest.fixture
def other_umask():
    before = os.umask(0o077)
    yield
    os.umask(before)


def with_packages(version, path, folder):
    """Make an environment of a Python with what the verbs import, in the pinned versions; return its interpreter.

    With uv in two seconds; where it finds no index, with pip in fifteen.
    """
    environment, uv = folder / version, [sys.executable, "-m", "uv", "--quiet"]
    python, wanted = environment / "bin/python", ["--constraint", pinned_versions(folder), *PACKAGES]
    for begin, install in (
        ([*uv, "venv", "--python", path], [*uv, "pip", "install", "--python", python]),
        ([path, "-m", "venv", "--clear"], [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]),
    ):
        subprocess.run([*begin, environment], check=False)
        if subprocess.run([*install, *wanted], check=False).returncode == 0:
            return python
    raise AssertionError(f"no environment of Python {version}, see above")


def test_every_python_and_other_surroundings_make_what_dvc_lock_records(tmp_path, subtests, other_umask):
    """The last other Python, or where there is none this one, works in other surroundings, the rest as it comes."""
    pythons, samples = other_pythons() or {"this": sys.executable}, None
    for version, path in pythons.items():
        with subtests.test(version):
            python = path if version == "this" else with_packages(version, path, tmp_path)
            variables = other_surroundings() if version == [*pythons][-1] else {}
            folder = tmp_path / f"run-{version}"
            folder.mkdir()
            assert outputs(folder, python, samples, **variables) == recorded()
            samples = folder / "data/sample"
