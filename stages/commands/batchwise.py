"""Run a command or a verb by its name: ``batchwise status hex`` is ``python -m stages.commands.status hex``.

It works in the repository's folder, with the environment that `make` makes; `make` brings the packages first.
"""

import ast
import difflib
import importlib.util
import runpy
import sys
from pathlib import Path

import stages
from stages.runtime.text import printable

ROOT = Path(stages.__file__).parent
ROOMS = ("stages.commands", "stages")  # a command comes before a verb or a room of the same name


def known() -> dict[str, str]:
    """Return the module of each command and verb that can be run, by its name."""
    found: dict[str, str] = {}
    for room in reversed(ROOMS):
        folder = ROOT.joinpath(*room.split(".")[1:])
        for path in sorted((*folder.glob("*.py"), *folder.glob("*/__main__.py"))):
            name = path.parent.name if path.name == "__main__.py" else path.stem
            if path != Path(__file__) and "__main__" in path.read_text(encoding="utf-8"):
                found[name] = f"{room}.{name}"
    return found


def usage() -> str:
    """Return what can be typed, a line for each name, with the first line of its module's words."""
    lines = [f"  {name:14} {_first_line(module)}\n" for name, module in sorted(known().items())]
    return f"usage: batchwise NAME [ARGUMENTS ...], for example batchwise status hex\n\n{''.join(lines)}"


def _first_line(module: str) -> str:
    """Return the first line of a module's docstring, without running the module."""
    spec = importlib.util.find_spec(module)
    path = Path(str(spec.origin)) if spec else Path()
    main = path.with_name("__main__.py")
    text = (main if path.name == "__init__.py" and main.is_file() else path).read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def main() -> int:
    """Run the command that the command line names; its exit code is that of the process."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0
    modules = known()
    if name not in modules:
        near = difflib.get_close_matches(name, modules, 1)
        hint = f"did you mean {near[0]!r}?" if near else "`batchwise --help` lists them"
        sys.stderr.write(f"error: {printable(repr(name))}, expected a command; {hint}\n")
        return 2
    sys.argv[1:] = arguments
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` has it: params.yaml may name modules of the folder
    runpy.run_module(modules[name], run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
