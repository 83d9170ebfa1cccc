"""All small changes of a module: comparisons, conditions, sums turned round, statements left out."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Change = Callable[[], ast.AST]

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.LShift: ast.RShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}


@dataclass(frozen=True)
class Mutant:
    """``source``: of the whole module. ``number``: its place among all of the module."""

    number: int
    line: int
    told: str
    source: str


def mutants_of(source: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    tree = ast.parse(source)
    sites = [(node, change) for node in _code(tree) for change in _changes(node)]
    found = []
    for number, (node, change) in enumerate(sites):
        changed = change()
        before, after = ast.unparse(node), ast.unparse(changed)
        mutated = ast.unparse(ast.fix_missing_locations(_Swap(node, changed).visit(copy.copy(tree))))
        line = getattr(node, "lineno", 0)
        found.append(Mutant(number, line, f"{_short(before)} -> {_short(after)}", mutated))
    return found


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) < 90 else text[:87] + "..."


class _Swap(ast.NodeTransformer):
    """Puts one node in the place of another, on a tree that is otherwise shared and stays as it is."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self._old:
            return self._new
        fresh = copy.copy(node)
        for name, value in ast.iter_fields(node):
            if isinstance(value, ast.AST):
                setattr(fresh, name, self.visit(value))
            elif isinstance(value, list):
                setattr(fresh, name, [self.visit(v) if isinstance(v, ast.AST) else v for v in value])
        return fresh


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """What is carried out: no annotations, no docstrings, no assertions, nothing for the type checker."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_left_out(child):
                yield from _code(child)


def _is_left_out(node: ast.AST) -> bool:
    match node:
        case ast.Assert() | ast.Import() | ast.ImportFrom() | ast.JoinedStr():
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
    return False


def _changes(node: ast.AST) -> Iterator[Change]:  # noqa: C901  # one case for each kind of change
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARISONS:
            yield lambda: _with(node, ops=[_COMPARISONS[type(op)]()])
        case ast.BoolOp():
            yield lambda: _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not()):
            yield lambda: node.operand
        case ast.BinOp() if type(node.op) in _OPERATORS:
            yield lambda: _with(node, op=_OPERATORS[type(node.op)]())
        case ast.AugAssign() if type(node.op) in _OPERATORS:
            yield lambda: _with(node, op=_OPERATORS[type(node.op)]())
        case ast.If() | ast.While() | ast.IfExp():
            yield lambda: _with(node, test=ast.UnaryOp(ast.Not(), node.test))
        case ast.Constant(value=bool()):
            yield lambda: ast.Constant(not node.value)
        case ast.Constant(value=int()):
            yield lambda: ast.Constant(_other_number(node.value))
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Continue() | ast.Break():
            yield ast.Pass


def _other_number(value: object) -> int:
    assert isinstance(value, int)
    return value + 1


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed
