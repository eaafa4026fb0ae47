"""What the documents tell a user to type exists and runs, and what they show is what is printed."""

import ast
import importlib.util
import re
import shutil
import subprocess

import pytest

from tests.helpers.places import REPOSITORY, SHIPPED
from tests.helpers.small_sample import small_models, small_sample

LISTED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
    cwd=REPOSITORY,
    capture_output=True,
    text=True,
    check=True,
).stdout.split()
CARDS = [f"data/cards/{dataset}.md" for dataset in SHIPPED]
DOCUMENTS = {
    name: (REPOSITORY / name).read_text() for name in LISTED if "/cards/" not in name and not name.endswith("card.md")
}
README = DOCUMENTS["README.md"]
TARGETS = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
VARIABLES = re.findall(r"^([A-Z_]+) \?=", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
NEW_DATASET = "stages/datasets/sensors"  # what the documents call the dataset that a user begins
MADE_LATER = (NEW_DATASET, "data/manifests/sensors", "data/manifests/splendor/batches/")
PATH = re.compile(r"(?<![\w./])((?:stages|tests|\.github|data/cards|data/manifests)/[\w./-]*)([<*]?)")
WITH_A_MODEL = "load_model("
LONGEST = 300  # lines of README.md

each_document = pytest.mark.parametrize("name", sorted(DOCUMENTS))


def blocks(text, language):
    """Return the code blocks of a language, with the number of the line before each."""
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: match.start(1)].count("\n"), match[1]) for match in found]


def missing(block):
    """Return which packages that a block imports, or needs torch for, are not installed; compile it in any case."""
    nodes = list(ast.walk(ast.parse(block)))
    named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    needs_torch = "torch" in block or "stages.training" in named
    packages = {name.partition(".")[0] for name in named} | ({"torch"} if needs_torch else set())
    return [package for package in sorted(packages) if importlib.util.find_spec(package) is None]


@each_document
def test_every_make_target_exists(name):
    text = DOCUMENTS[name]
    named = set(re.findall(r"`make ([a-z-]+)", text)) | set(re.findall(r"^ *make ([a-z-]+)", text, re.MULTILINE))
    assert named <= TARGETS


@each_document
def test_every_module_exists(name):
    named = set(re.findall(r"python -m (stages(?:\.\w+)*)", DOCUMENTS[name]))
    assert [module for module in named if importlib.util.find_spec(module) is None] == []


@each_document
def test_every_path_exists(name):
    """Paths from the repository's root; of one with a `<name>` or a `*` the folder before that."""
    missing = []
    for path, is_pattern in PATH.findall(DOCUMENTS[name]):
        path = path.rpartition("/")[0] if is_pattern else path.rstrip(".")
        if not path.startswith(MADE_LATER) and not (REPOSITORY / path).exists():
            missing.append(path)
    assert missing == []


@each_document
def test_every_link_leads_somewhere(name):
    links = re.findall(r"\]\((?!http)([^)#]+)", DOCUMENTS[name])
    assert [link for link in links if not ((REPOSITORY / name).parent / link).exists()] == []


def test_the_readme_is_short():
    assert len(README.splitlines()) <= LONGEST


def test_the_readme_shows_what_make_help_prints():
    printed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    targets, _, variables = printed.partition("\n\nVariables")
    assert targets in README
    assert all(f"\n  {name} " in variables for name in VARIABLES)


def test_the_table_of_datasets_has_a_row_for_each_that_is_shipped():
    """A row begins with a link to the dataset's own document."""
    for dataset in SHIPPED:
        assert f"\n| [{dataset}](stages/datasets/{dataset}/README.md) |" in README


def test_the_readme_leads_to_every_other_one():
    """Directly, or by way of one that it leads to."""
    reached, to_visit = set(), ["README.md"]
    while to_visit:
        name = to_visit.pop()
        reached.add(name)
        for link in re.findall(r"\]\((?!http)([^)#]+)", DOCUMENTS[name]):
            target = str((REPOSITORY / name).parent.joinpath(link).resolve().relative_to(REPOSITORY))
            if target in DOCUMENTS and target not in reached:
                to_visit.append(target)
    assert {name for name in DOCUMENTS if name.endswith("README.md")} <= reached


def test_every_file_of_the_top_level_is_one_of_the_fixed_ones():
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    fixed = {"dvc.yaml", "dvc.lock", "params.yaml", "Makefile", "pyproject.toml", "README.md", "LICENSE"}
    top = {name.partition("/")[0] for name in listed.split()}
    assert {name for name in top if not name.startswith(".")} <= fixed | {"stages", "data", "tests"}


def test_the_documents_show_the_files_that_a_new_dataset_has():
    """A block that begins with a comment that names a file of the new dataset is that file."""
    from stages.datasets.__main__ import SKELETON, fill

    text = DOCUMENTS["stages/datasets/README.md"]
    shown = {}
    for _, block in blocks(text, "python"):
        first, _, rest = block.partition("\n")
        if first.startswith(f"# {NEW_DATASET}/"):
            shown[first.removeprefix(f"# {NEW_DATASET}/")] = rest
    assert set(shown) >= {"schema/__init__.py", "find.py", "encode/__init__.py"}
    for name, block in shown.items():
        assert block == fill((SKELETON / name).read_text(), "sensors")


@pytest.fixture(scope="module")
def sample(nursery, tmp_path_factory):
    """Folder in which all verbs have run on a small sample of each dataset that is shipped."""
    return shutil.copytree(small_sample(tmp_path_factory, nursery), tmp_path_factory.mktemp("documents") / "sample")


@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")  # Lightning 2.6 with torch 2.13
@pytest.mark.filterwarnings("ignore:Your `IterableDataset` has `__len__` defined")
@pytest.mark.filterwarnings("ignore:The '.*dataloader' does not have many workers")
@pytest.mark.parametrize("name", [*sorted(DOCUMENTS), *CARDS])
def test_every_python_block_runs(name, sample, monkeypatch):
    """One after the other, with the names that those before them have made; what needs torch where it is installed."""
    monkeypatch.chdir(sample)
    namespace = {"__name__": "document"}
    for line, block in blocks((REPOSITORY / name).read_text(), "python"):
        if block.startswith(f"# {NEW_DATASET}/") or WITH_A_MODEL in block or missing(block):
            continue
        exec(compile("\n" * line + block, str(REPOSITORY / name), "exec"), namespace)


@pytest.fixture(scope="module")
def models(nursery, tmp_path_factory):
    """Folder with a model of each dataset besides."""
    pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
    return shutil.copytree(small_models(tmp_path_factory, nursery), tmp_path_factory.mktemp("documents") / "models")


@pytest.mark.train
@pytest.mark.parametrize(
    ("name", "line", "block"),
    [
        (name, line, block)
        for name in sorted(DOCUMENTS)
        for line, block in blocks(DOCUMENTS[name], "python")
        if WITH_A_MODEL in block
    ],
)
def test_every_python_block_with_a_trained_model_runs(name, line, block, models, monkeypatch):
    """Each by itself."""
    monkeypatch.chdir(models)
    exec(compile("\n" * line + block, str(REPOSITORY / name), "exec"), {"__name__": "document"})
