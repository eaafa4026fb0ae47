"""Begin a dataset: `python -m stages.datasets new <name>`, or `make dataset NAME=<name>`.

In: `stages/datasets/skeleton`, a small dataset that runs as it is. Out: a copy of it, `stages/datasets/<name>`; an
entry under `datasets:` in params.yaml; a line under `vars:` in dvc.yaml; and an empty list of batches. No other file
changes, and of these two all other lines stay as they are.
"""

import keyword
import sys
from pathlib import Path

import yaml

from stages.core import paths
from stages.core.errors import ExpectedError
from stages.core.files import write_text
from stages.core.params import DATASET_NAME, Params, load
from stages.runtime import cli

DVC_FILE = Path("dvc.yaml")
SKELETON = Path(__file__).parent / "skeleton"
TAKEN = (  # folders of data/ that hold something else than raw files
    *("cards", "export", "intermediate", "logs", "manifests", "merged"),
    *("metrics", "models", "plots", "processed", "reports", "sample"),
)
ENTRY = """  {name}:
    raw: data/{name}
    batch_size: 500
    limit: null
    max_bad_units: 0
    options: {{}}
    split: {{}}
"""
NEXT = """\
stages/datasets/{name} reads CSV files of numbers, as an example: its schema says which columns. Change it to yours, put
files into data/{name} and run

    make preprocess DATASET={name}

stages/datasets/README.md goes through the package file by file.
"""


def new(name: str) -> None:
    """Write the package, the entry, the line and the list of a dataset.

    Raises
    ------
    ExpectedError
        When the name cannot be that of a package or is taken, or a file is not in the form that is added to; nothing
        is written then.
    """
    _check_name(name)
    package = Path("stages/datasets", name)
    params = _read(paths.PARAMS_FILE)
    pipeline = _read(DVC_FILE)
    _refuse_taken(name, package, load())
    new_params = add_entry(params, name)
    new_pipeline = add_batch_list(pipeline, paths.batch_list(name))

    for template in sorted(SKELETON.rglob("*.py")):
        write_text(package / template.relative_to(SKELETON), fill(template.read_text(encoding="utf-8"), name))
    write_text(paths.batch_list(name), "batches: {}\n")
    write_text(DVC_FILE, new_pipeline)
    write_text(paths.PARAMS_FILE, new_params)


def _check_name(name: str) -> None:
    if not DATASET_NAME.fullmatch(name) or keyword.iskeyword(name):
        raise ExpectedError(f"{name!r}: expected small letters, digits and _, a letter first; choose another name")


def _refuse_taken(name: str, package: Path, params: Params) -> None:
    if package.exists() or name in params.datasets or name in TAKEN:
        raise ExpectedError(f"{name!r}: {package}, its entry in params.yaml or data/{name} exists; choose another name")


def _read(path: Path) -> str:
    if not path.is_file():
        raise ExpectedError(f"{path}: not found, expected in the working directory; run from the repository")
    return path.read_text(encoding="utf-8")


def fill(text: str, name: str) -> str:
    """Return a file of the skeleton for a dataset, its imports in the order that ruff wants."""
    lines = text.replace("skeleton", name).splitlines()
    at = [i for i, line in enumerate(lines) if line.startswith("from stages.")]
    for i, line in zip(at, sorted(lines[i] for i in at), strict=True):
        lines[i] = line
    return "".join(f"{line}\n" for line in lines)


def add_entry(params: str, name: str) -> str:
    """Return the text of params.yaml with an entry for a dataset behind the other ones.

    Raises
    ------
    ExpectedError
        When `datasets:` is no block of lines.
    """
    lines = params.splitlines(keepends=True)
    return _insert(lines, _section_end(lines, "datasets:"), ENTRY.format(name=name), paths.PARAMS_FILE)


def add_batch_list(pipeline: str, batch_list: Path) -> str:
    """Return the text of dvc.yaml with the batch list of a dataset under `vars:`, in the order of names.

    Raises
    ------
    ExpectedError
        When `vars:` is no block of lines.
    """
    lines = pipeline.splitlines(keepends=True)
    added = f"  - {batch_list.as_posix()}\n"
    end = _section_end(lines, "vars:")
    later = [i for i in range(end) if lines[i].startswith("  - data/manifests/") and lines[i] > added]
    return _insert(lines, min(later, default=end), added, DVC_FILE)


def _section_end(lines: list[str], head: str) -> int:
    """Return the number of the line after a section's last one; 0 when there is no such section.

    Comments and empty lines before the next section belong to that one.
    """
    begin = next((i + 1 for i, line in enumerate(lines) if line.split("#")[0].rstrip() == head), 0)
    inside = begin
    for i in range(begin, len(lines)):
        if lines[i].startswith(" "):
            inside = i + 1
        elif lines[i].strip() and not lines[i].startswith("#"):
            break
    return inside


def _insert(lines: list[str], place: int, added: str, path: Path) -> str:
    """Return the lines with others at a place, if there is one and the whole is YAML."""
    result = "".join([*lines[:place], added, *lines[place:]])
    if place == 0 or not _is_yaml(result):
        raise ExpectedError(
            f"{path}: no section of indented lines to add to, expected one; add there:", *added.splitlines()
        )
    return result


def _is_yaml(text: str) -> bool:
    try:
        yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    return True


def main() -> int:
    """Run the command."""
    parser = cli.parser("datasets", "Begin a dataset.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("new", help="copy the skeleton, a dataset that runs as it is")
    command.add_argument("name", help="of the dataset and its package: small letters, digits and _")
    name = parser.parse_args().name

    def action() -> None:
        new(name)
        sys.stdout.write(NEXT.format(name=name))

    return cli.run(action)


if __name__ == "__main__":
    sys.exit(main())
