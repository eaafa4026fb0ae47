"""No function is so dense that it must be read twice."""

import ast

from tests.helpers.places import REPOSITORY

MOST_NODES = 400  # of the syntax tree: about 40 lines of ten nodes, one thought each


def n_nodes(function):
    """Return the nodes of a function's syntax tree, its docstring and annotations among them."""
    return sum(1 for _ in ast.walk(function))


def test_a_function_has_at_most_400_syntax_nodes():
    dense = {}
    for path in sorted((REPOSITORY / "stages").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and n_nodes(node) > MOST_NODES:
                dense[f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name}"] = n_nodes(node)
    assert dense == {}
