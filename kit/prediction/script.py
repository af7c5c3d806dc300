"""The source of a script, taken apart: which of its statements a function needs, and the text of a function in it.

A script's top level does more than define things: it reads flags, opens data, trains. To make its network again, only
the statements are run that bind a name which the network needs: imports, functions, classes, constants. So a script
may lack its `if __name__ == "__main__"`, and neither its data nor its flags are asked for.
"""

import __future__

import ast
import dis
import functools
import operator
import types
from collections.abc import Iterable, Iterator

GLOBAL_STEPS = {"LOAD_NAME", "LOAD_GLOBAL"}
DEFINED, ASSIGNED = "defined", "assigned"  # how a statement binds a name: by import, def or class; or to a value


class Script:
    """A module's source by its top-level statements. Raises SyntaxError."""

    def __init__(self, text: str) -> None:
        self.tree = ast.parse(text)
        self.bound = [dict(_bindings(statement)) for statement in self.tree.body]
        futures = [part for part in self.tree.body if isinstance(part, ast.ImportFrom) and part.module == "__future__"]
        named = [getattr(__future__, alias.name) for part in futures for alias in part.names]
        self._flags = functools.reduce(operator.or_, (feature.compiler_flag for feature in named), 0)

    def binding(self, name: str) -> list[int]:
        """The numbers of the statements that bind `name`, in their order."""
        return [number for number, names in enumerate(self.bound) if name in names]

    def is_value(self, name: str) -> bool:
        """Whether `name` is only ever assigned, so that its value may stand for its statements."""
        kinds = {self.bound[number][name] for number in self.binding(name)}
        return kinds == {ASSIGNED}

    def compiled(self, number: int, path: str) -> types.CodeType:
        """The code of one statement. path: of the script, for the lines of an error."""
        block = ast.Module(body=[self.tree.body[number]], type_ignores=[])
        return compile(block, path, "exec", flags=self._flags, dont_inherit=True)

    def used_by(self, number: int) -> set[str]:
        """The global names that a statement uses, also inside the functions that it defines."""
        return global_names(self.compiled(number, "<script>"))

    def needed(self, names: Iterable[str], given: Iterable[str] = ()) -> list[int]:
        """The numbers of all statements that `names` need, and the names that these use; given: names with values."""
        waiting, seen, found = list(names), set(given), set(self._always())
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                new = set(self.binding(name)) - found
                found |= new
                waiting += [used for number in new for used in self.used_by(number)]
        return sorted(found)

    def _always(self) -> Iterator[int]:
        """Imports with a star: they may bind any name."""
        return (number for number, names in enumerate(self.bound) if "*" in names)


def source_of(function: types.FunctionType, text: str) -> str | None:
    """The source of a function inside `text`, its module's; None where the text has no such function.

    Without decorators, annotations and defaults: those are values of the place where it was made. Several lambdas may
    share a line, and the text may have been edited since, so the compiled code is compared.
    """
    tree = ast.parse(text)
    imports = list(_imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.Lambda) and _first_line(node) == function.__code__.co_firstlineno:
            source = ast.unparse(_bare(node))
            if _is_same(function.__code__, _compiled(source, function.__code__.co_freevars, imports)):
                return source
    return None


def made(source: str, cells: dict[str, object], namespace: dict[str, object]) -> types.FunctionType:
    """A function from source_of's text. cells: the names that it takes from the function around it, by value."""
    scratch: dict[str, object] = {}
    exec(compile(_maker(source, cells), "<function of a saved run>", "exec"), namespace, scratch)
    return scratch["make"](*cells.values())


def global_names(code: types.CodeType) -> set[str]:
    """The names that a piece of code takes from its module."""
    own = {
        step.argval
        for step in dis.get_instructions(code)
        if step.opname in GLOBAL_STEPS or step.opname.startswith("LOAD_FROM_DICT")
    }
    return own.union(*(global_names(part) for part in code.co_consts if isinstance(part, types.CodeType)))


def _compiled(source: str, cells: Iterable[str], imports: list[ast.stmt]) -> types.CodeType:
    """The code of a function from its text. Python 3.11 calls what a module has imported by other instructions."""
    tree = _maker(source, cells)
    tree.body = [*imports, *tree.body]
    make = _codes(compile(tree, "<function>", "exec"))[-1]
    return _codes(make)[0]


def _codes(code: types.CodeType) -> list[types.CodeType]:
    return [part for part in code.co_consts if isinstance(part, types.CodeType)]


def _maker(source: str, cells: Iterable[str]) -> ast.Module:
    """A function `make` whose parameters are the cells, and which returns the function."""
    around, (own,) = ast.parse(f"def make({', '.join(cells)}):\n    pass"), ast.parse(source).body
    result = own.value if isinstance(own, ast.Expr) else ast.Name(own.name, ast.Load())
    around.body[0].body = [*([] if isinstance(own, ast.Expr) else [own]), ast.Return(result)]
    return ast.fix_missing_locations(around)


def _imports(tree: ast.AST) -> Iterator[ast.stmt]:
    """The imports of the top level, also inside if, try and with."""
    for part in ast.iter_child_nodes(tree):
        if isinstance(part, ast.Import | ast.ImportFrom):
            yield part
        elif not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _imports(part)


def _bare(node: ast.FunctionDef | ast.Lambda) -> ast.FunctionDef | ast.Lambda:
    """The node without what was computed where the function was made."""
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    for one in [*every, *filter(None, [arguments.vararg, arguments.kwarg])]:
        one.annotation = None
    arguments.defaults, arguments.kw_defaults = [], [None] * len(arguments.kwonlyargs)
    if isinstance(node, ast.FunctionDef):
        node.decorator_list, node.returns = [], None
    return node


def _first_line(node: ast.FunctionDef | ast.Lambda) -> int:
    return min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])


def _is_same(one: types.CodeType, other: types.CodeType) -> bool:
    """Whether two pieces of code do the same: all counts but names of files and lines."""
    if [len(one.co_consts), *_facts(one)] != [len(other.co_consts), *_facts(other)]:
        return False
    return all(map(_is_same_constant, one.co_consts, other.co_consts))


def _is_same_constant(one: object, other: object) -> bool:
    if isinstance(one, types.CodeType) and isinstance(other, types.CodeType):
        return _is_same(one, other)
    return type(one) is type(other) and (one == other or repr(one) == repr(other))


def _facts(code: types.CodeType) -> list[object]:
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount
    return [code.co_code, counts, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars]


def _bindings(statement: ast.stmt) -> Iterator[tuple[str, str]]:
    """The names that a statement of the top level binds, also inside if, try, with and loops; and how."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name, DEFINED
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        for alias in statement.names:
            name = alias.asname or alias.name
            yield name if isinstance(statement, ast.ImportFrom) else name.partition(".")[0], DEFINED
    else:
        for part in ast.iter_child_nodes(statement):
            yield from _bindings(part) if isinstance(part, ast.stmt) else _bound_inside(part)


def _bound_inside(part: ast.AST) -> Iterator[tuple[str, str]]:
    """The same of a part of a statement: targets of assignments, and the bodies of except and case."""
    if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
        yield part.id, ASSIGNED
    if not isinstance(part, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        for inner in ast.iter_child_nodes(part):
            yield from _bindings(inner) if isinstance(inner, ast.stmt) else _bound_inside(inner)
