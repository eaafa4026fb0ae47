"""Which rows an expression chooses: ``action_type == 'build' and turn_number > 20``.

It has the form of Python and is read by its syntax tree, of which a few kinds of nodes are known; nothing is executed.

- Names are those of columns.py: fields, heads (``action_type`` is ``label_action_type``) and columns. What is no plain
  name is written as ``X['card0 vp']``; ``mask_action_type.build`` is a column of a mask. ``row`` is the row's number.
- ``and or not`` (or ``& | ~``), ``== != < <= > >=``, ``in`` and ``not in`` with a list, ``+ - * / // %``, brackets.
- A label is compared with names of classes, for equality only, and with ``None`` for "does not apply": such a row is
  not equal to any class, so ``!=`` is true of it. Text keys and ``unit`` are compared with text, the time of a row with
  text such as ``'2024-03-01 09:30'`` (UTC) or with nanoseconds.
- Features have the values of the raw data.
"""

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.core.errors import ExpectedError
from stages.look.columns import choose, suggestion
from stages.look.part import TIME, UNIT, PartRows

MOST_CHARACTERS = 2000
ROW = "row"
SPAN_ROWS = 1 << 16

COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
MIRRORED: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
}
ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
LOGIC: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.And: operator.and_,
    ast.Or: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
}


@dataclass(frozen=True)
class Operand:
    """Values of some rows, or a constant.

    Attributes
    ----------
    kind
        number, truth, label, text, unit, time; of constants: constant.
    values
        An array of a value for each row, or the constant.
    classes
        Of a label the class names by index, of a unit its table.
    name
        What the user calls it.
    """

    kind: str
    values: Any
    classes: tuple[str, ...] = ()
    name: str = ""


class Condition:
    """An expression over the columns of a part.

    Parameters
    ----------
    text
        The expression.
    rows
        The part.

    Attributes
    ----------
    fields
        The fields that it needs.

    Raises
    ------
    ExpectedError
        When it is no expression of this form, or names what the part has not.
    """

    def __init__(self, text: str, rows: PartRows) -> None:
        self.text, self.rows = text, rows
        self._where = f"WHERE {text!r}" if len(text) < 80 else "WHERE"
        self._tree = self._parsed()
        self.fields: set[str] = set()
        self.of(slice(0, 0))  # names and kinds of operands are checked before any row is read

    def _parsed(self) -> ast.expr:
        if len(self.text) > MOST_CHARACTERS:
            raise self._error(f"{len(self.text):,} characters, expected at most {MOST_CHARACTERS:,}")
        try:
            return ast.parse(self.text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            said = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
            hint = "; == compares" if "==" in said or "=" in self.text.replace("==", "") else ""
            raise self._error(f"not an expression ({said}){hint}") from None

    def _error(self, said: str) -> ExpectedError:
        return ExpectedError(f"{self._where}: {said}")

    def of(self, span: slice) -> np.ndarray:
        """Return which rows of a stretch are chosen, bool (k,)."""
        with np.errstate(all="ignore"):
            found = self._truth(self._tree, span)
        return np.broadcast_to(found, (span.stop - span.start,))

    def chosen(self) -> Iterator[np.ndarray]:
        """Yield the numbers of the chosen rows, int64, stretch by stretch."""
        step = min(SPAN_ROWS, self.rows.chunk_rows(sorted(self.fields))) if self.fields else SPAN_ROWS
        for start in range(0, self.rows.n_rows, step):
            span = slice(start, min(start + step, self.rows.n_rows))
            yield start + np.flatnonzero(self.of(span))

    def _truth(self, node: ast.expr, span: slice) -> Any:
        found = self._operand(node, span)
        if found.kind == "truth" or (found.kind == "constant" and isinstance(found.values, bool)):
            return found.values
        if found.kind == "number" and found.values.dtype.kind in "ub":  # a flag, or a column of a mask
            return found.values != 0
        raise self._error(f"{ast.unparse(node)!r} is neither true nor false; compare it, as in {self._example(node)!r}")

    def _example(self, node: ast.expr) -> str:
        return f"{ast.unparse(node)} == 0"

    def _operand(self, node: ast.expr, span: slice) -> Operand:
        for kinds, method in self._methods().items():
            if isinstance(node, kinds):
                return method(node, span)
        raise self._error(
            f"{ast.unparse(node)!r} is not known here, expected names, numbers, text, lists, comparisons and and/or/not"
        )

    def _methods(self) -> dict[type[ast.expr], Callable[[Any, slice], Operand]]:
        return {
            ast.BoolOp: self._bool,
            ast.UnaryOp: self._unary,
            ast.BinOp: self._binary,
            ast.Compare: self._compare,
            ast.Name: self._named,
            ast.Attribute: self._named,
            ast.Subscript: self._named,
            ast.Constant: self._constant,
        }

    def _bool(self, node: ast.BoolOp, span: slice) -> Operand:
        found = self._truth(node.values[0], span)
        for value in node.values[1:]:
            found = LOGIC[type(node.op)](found, self._truth(value, span))
        return Operand("truth", found)

    def _unary(self, node: ast.UnaryOp, span: slice) -> Operand:
        if isinstance(node.op, ast.Not | ast.Invert):
            return Operand("truth", np.logical_not(self._truth(node.operand, span)))
        found = self._number(node.operand, span)
        value = -found.values if isinstance(node.op, ast.USub) else found.values
        return Operand(found.kind, value)

    def _binary(self, node: ast.BinOp, span: slice) -> Operand:
        if type(node.op) in LOGIC:
            left, right = self._truth(node.left, span), self._truth(node.right, span)
            return Operand("truth", LOGIC[type(node.op)](left, right))
        if type(node.op) not in ARITHMETIC:
            raise self._error(f"{ast.unparse(node)!r} is not known here, expected one of + - * / // %")
        left, right = (self._number(side, span) for side in (node.left, node.right))
        value = ARITHMETIC[type(node.op)](np.float64(1) * left.values, right.values)
        return Operand("number", np.asarray(value, np.float64))

    def _number(self, node: ast.expr, span: slice) -> Operand:
        found = self._operand(node, span)
        is_number = found.kind in ("number", "time") or (
            found.kind == "constant" and isinstance(found.values, int | float) and not isinstance(found.values, bool)
        )
        if not is_number:
            raise self._error(f"{ast.unparse(node)} is a {_kind(found)}, expected a number")
        return found

    def _constant(self, node: ast.Constant, _: slice) -> Operand:
        if node.value is not None and type(node.value) not in (str, int, float, bool):
            raise self._error(f"{ast.unparse(node)} is no value of this kind, expected a number, text, True or None")
        return Operand("constant", node.value)

    def _named(self, node: ast.expr, span: slice) -> Operand:
        name = self._name(node)
        if name == ROW:
            return Operand("number", np.arange(span.start, span.stop), name=name)
        names = [one for choice in choose(self.rows.fields, [name], self._where) for one in choice.names]
        if len(names) != 1:
            raise self._error(f"{name!r} has {len(names)} columns; name one of them{suggestion(name, names)}")
        [choice] = choose(self.rows.fields, [name], self._where)
        field = choice.field
        self.fields.add(field.name)
        values = self.rows.take(choice, span)[:, 0]
        if field.role == "label" and field.classes:
            return Operand("label", values, field.classes, name)
        if field.dtype.kind == "S":
            return Operand("text", values, name=name)
        if field.name == UNIT:
            return Operand("unit", values, tuple(self.rows.units), name)
        return Operand("time" if field.name == TIME == self.rows.time_field else "number", values, name=name)

    def _name(self, node: ast.expr) -> str:
        """Return the name that a node writes: ``a``, ``a.b`` or ``a['b c']``."""
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute):
            return f"{self._name(node.value)}.{node.attr}"
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            field, column = self._name(node.value), str(node.slice.value)
            own = self.rows.fields.get(field)
            both = f"{field}.{column}"
            return column if own is not None and column in own.columns else both
        raise self._error(f"{ast.unparse(node)!r} is no name of a column")

    def _compare(self, node: ast.Compare, span: slice) -> Operand:
        found: Any = True
        left = node.left
        for comparison, right in zip(node.ops, node.comparators, strict=True):
            found = found & self._pair(left, comparison, right, span)
            left = right
        return Operand("truth", found)

    def _pair(self, left: ast.expr, comparison: ast.cmpop, right: ast.expr, span: slice) -> Any:
        """Compare two sides, a column on the left if there is one."""
        if isinstance(comparison, ast.In | ast.NotIn):
            is_in = self._is_in(left, right, span)
            return is_in if isinstance(comparison, ast.In) else np.logical_not(is_in)
        kind = {ast.Is: ast.Eq, ast.IsNot: ast.NotEq}.get(type(comparison), type(comparison))
        first, second = self._operand(left, span), self._operand(right, span)
        if first.kind == "constant" and second.kind != "constant":
            first, second, kind = second, first, MIRRORED.get(kind, kind)
        return self._compared(first, kind, second)

    def _is_in(self, left: ast.expr, right: ast.expr, span: slice) -> Any:
        if not isinstance(right, ast.List | ast.Tuple | ast.Set):
            raise self._error(f"{ast.unparse(right)!r} is no list, expected one as in ['a', 'b']")
        first, found = self._operand(left, span), False
        for element in right.elts:
            found = found | self._compared(first, ast.Eq, self._operand(element, span))
        return found

    def _compared(self, first: Operand, kind: type[ast.cmpop], second: Operand) -> Any:
        if second.kind == "constant":
            first, second = self._comparable(first, kind, second)
        elif first.kind != second.kind and {first.kind, second.kind} - {"number", "time", "truth"}:
            raise self._error(f"{first.name!r} is a {_kind(first)} and {second.name!r} a {_kind(second)}")
        elif first.kind in ("label", "unit") and first.classes != second.classes:
            raise self._error(f"{first.name!r} and {second.name!r} have different classes; compare them with names")
        return COMPARISONS[kind](first.values, second.values)

    def _comparable(self, first: Operand, kind: type[ast.cmpop], second: Operand) -> tuple[Operand, Operand]:
        """Return a column and a constant in the form in which they are compared."""
        value = second.values
        if first.kind in ("label", "unit"):
            if kind not in (ast.Eq, ast.NotEq):
                raise self._error(f"{first.name!r} has classes, which have no order; compare them with == or !=")
            return first, Operand("constant", self._class_number(first, value))
        if first.kind == "text" and isinstance(value, str):
            return first, Operand("constant", np.bytes_(value.encode()))
        if first.kind == "time" and isinstance(value, str):
            return first, Operand("constant", self._nanoseconds(value))
        is_number = isinstance(value, int | float)
        if first.kind == "constant" or (first.kind in ("number", "time", "truth") and is_number):
            return first, second
        raise self._error(f"{first.name!r} is a {_kind(first)}, and {value!r} is not")

    def _class_number(self, column: Operand, value: Any) -> int:
        """Return the number of a class that is given by its name, or by a number that is its name."""
        if value is None and column.kind == "label":
            return -1
        name = str(value)
        if name not in column.classes or isinstance(value, bool):
            raise self._error(f"{column.name!r} has no {column.kind} {value!r}{suggestion(name, column.classes)}")
        return column.classes.index(name)

    def _nanoseconds(self, text: str) -> int:
        try:
            return int(np.datetime64(text.strip().removesuffix("Z"), "ns").astype(np.int64))
        except ValueError:
            raise self._error(f"{text!r} is no time, expected one such as '2024-03-01 09:30'") from None


def _kind(operand: Operand) -> str:
    """Return what an operand is, in a user's words."""
    if operand.kind == "constant":
        return {str: "text", bool: "truth", type(None): "None"}.get(type(operand.values), "number")
    return operand.kind
