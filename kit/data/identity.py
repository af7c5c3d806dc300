"""What decides how a data set is read: the plain values that it holds, and the code that reads it.

Code is compared by its syntax tree, so comments, docstrings and layout do not count. Beside the class itself, the
functions and classes that it names are followed, through the user's modules and kit's own; of other packages and the
standard library only the names count.
"""

import ast
import contextlib
import functools
import hashlib
import inspect
import itertools
import os
import sys
import sysconfig
import textwrap
import tokenize
import types
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from kit.system.contents import name_contents

# Set or normalised by check_dataset, and part of data_key by themselves.
UNSTEADY = "_kit_unsteady"  # the attribute that holds the names of values that reading changes
NO_VALUES = frozenset({"ids", "groups", "test_ids", "dtype", UNSTEADY})
LOADED_SCRIPT = "kit_run_"  # begins the name of a module that holds a part of a saved script
MAX_DEPTH = 4  # of collections in collections that are looked into
STANDARD_LIBRARY = sysconfig.get_path("stdlib")
PACKAGES = {"site-packages", "dist-packages"}
# What _tree_of found, with what it depends on: a run asks several times, and each takes milliseconds.
TREES: weakref.WeakKeyDictionary[object, tuple[tuple, str]] = weakref.WeakKeyDictionary()


def held_values(dataset: object) -> dict[str, str]:
    """Text of each attribute of `dataset` that is a number, text, array, table, file, or a collection of these.

    Of a file, given as a path or as text, the name and the content count, and not the folder: the same data may lie
    elsewhere. Objects of other kinds, NO_VALUES and what reading changes (see UNSTEADY) are left out.
    """
    return {name: text for name, text in _values_of(dataset).items() if name not in unsteady(dataset)}


def reading_code(dataset: object, base: type) -> str:
    """The code that reads `dataset`, as text: its classes below `base`, and what they name outside packages."""
    return "\n".join(sorted({_tree_of(thing) for thing in _things(dataset, base)}))


def named_values(dataset: object, base: type) -> dict[str, str]:
    """Text of the plain values that the reading code names: attributes of classes, globals, constants of modules."""
    found: dict[str, set[str]] = {}
    for thing in _things(dataset, base):
        where = f"{thing.__module__}.{thing.__qualname__}"
        values = _values_of(thing) if isinstance(thing, type) else {}
        for function in _functions_of(thing):
            values |= _texts_of(_globals_of(function))
        for name, text in values.items():
            found.setdefault(f"{where}.{name}", set()).add(text)
    # sorted: things come in the order of sets of names, which differs from process to process
    return {name: " ".join(sorted(found[name])) for name in sorted(found) if name not in unsteady(dataset)}


def own_sources() -> dict[str, str]:
    """The source files of the user's modules that are loaded now, by name; not kit's, a package's, nor the script.

    Nor scripts of other runs, parts of which kit.prediction has loaded.
    """
    found, others = {}, ("kit.", "__main__.", "__mp_main__.", LOADED_SCRIPT)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and file.endswith(".py") and _is_own_file(file) and not f"{name}.".startswith(others):
            with contextlib.suppress(OSError, SyntaxError, UnicodeDecodeError):
                found[name] = source_text(Path(file))
    return found


def source_text(path: Path) -> str:
    """The text of a file of Python, in the encoding that its first lines name. Raises SyntaxError as Python does."""
    with tokenize.open(path) as file:
        return file.read()


@functools.cache  # a run asks several times, and an unchanged file takes milliseconds each time
def plain_source(source: str) -> str:
    """Python code without comments, docstrings and layout. Raises SyntaxError."""
    return ast.unparse(_without_docstrings(ast.parse(source)))


def unsteady(dataset: object) -> frozenset[str]:
    """The names of values that reading changes, such as a counter or a store of images; check_dataset finds them."""
    return vars(dataset).get(UNSTEADY, frozenset())


def _things(dataset: object, base: type) -> list[object]:
    """The classes and functions that take part in reading, each once."""
    held = [found for value in vars(dataset).values() for one in (value, type(value)) if (found := _followed(one))]
    waiting = [*(cls for cls in type(dataset).__mro__ if cls not in {object, *base.__mro__}), *held]
    things: dict[int, object] = {}
    while waiting:
        thing = waiting.pop()
        if id(thing) not in things:
            things[id(thing)] = thing
            waiting += _named_by(thing)
    return list(things.values())


def _values_of(holder: object) -> dict[str, str]:
    """The attributes of an object or a class that are plain values, as text."""
    names = [name for name in vars(holder) if name not in NO_VALUES and not name.startswith("__")]
    return _texts_of({name: vars(holder)[name] for name in sorted(names)})


def _texts_of(values: Mapping[str, object]) -> dict[str, str]:
    """The values that are plain, as text. The files among them are read together."""
    files = _name_files(set(_files_in(list(values.values()))))
    return {name: text for name, value in values.items() if (text := _as_text(value, files)) is not None}


def _files_in(value: object, depth: int = -1) -> Iterator[str | Path]:
    """The paths of files in a value, to the depth to which _as_text looks."""
    if isinstance(value, Path | str):
        # text without a dot or a slash is a word, also where a file has that name
        if (isinstance(value, Path) or "." in value or os.sep in value) and os.path.isfile(value):  # noqa: PTH113
            yield value
    elif isinstance(value, dict | list | tuple | set | frozenset) and depth <= MAX_DEPTH:
        for one in itertools.chain(value, value.values()) if isinstance(value, dict) else value:
            yield from _files_in(one, depth + 1)


def _name_files(files: set[str | Path]) -> dict[str | Path, str]:
    """Of each file its name, CRC-32 and size, as text."""
    if not files:
        return {}
    real = {file: os.path.realpath(file) for file in files}  # of a/../b, where a is a link, no other file
    root = os.path.commonpath([os.path.dirname(path) for path in real.values()])  # noqa: PTH120
    names = {file: os.path.relpath(path, root) for file, path in real.items()}
    contents = name_contents(root, names.values())
    return {file: f"{Path(file).name} {contents[name]}" for file, name in names.items()}


def _as_text(value: object, files: Mapping[str | Path, str], depth: int = 0) -> str | None:
    """Text that changes with the value; None for what is no plain value. files: the text of each file."""
    if isinstance(value, Path | str) and value in files:
        return files[value]
    if isinstance(value, Path) or (isinstance(value, str) and os.path.isabs(value)):  # noqa: PTH117
        return None  # a folder
    if value is None or isinstance(value, str | bool | int | float | complex | bytes | np.generic):
        return repr(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"{value.dtype} {value.shape} {content}"
    if type(value).__module__.startswith("pandas") and hasattr(value, "to_csv"):
        return hashlib.sha256(value.to_csv().encode()).hexdigest()
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return str(sorted(str([_as_text(part, files, depth + 1) for part in item]) for item in value.items()))
    if isinstance(value, list | tuple | set | frozenset):
        parts = [str(_as_text(one, files, depth + 1)) for one in value]
        return str(parts if isinstance(value, list | tuple) else sorted(parts))
    return None


def _tree_of(thing: object) -> str:
    """_parsed of a function or class, found once for as long as its code and its file stay as they are.

    Both may change in a notebook: autoreload writes new code into the functions that are there.
    """
    if type(thing).__hash__ is None:  # of a metaclass that compares and does not hash
        return _parsed(thing)
    now = (_file_state(thing), *(function.__code__ for function in _functions_of(thing)))
    before, text = TREES.get(thing, (None, ""))
    if now != before:
        text = _parsed(thing)
        TREES[thing] = now, text
    return text


def _file_state(thing: object) -> tuple[int, int] | None:
    """Time and size of the source file of a function or class, by which inspect reads it again; None without one."""
    try:
        state = Path(inspect.getsourcefile(thing)).stat()
    except (OSError, TypeError):  # a notebook, or exec: no name, or one that is no file's
        return None
    return state.st_mtime_ns, state.st_size


def _parsed(thing: object) -> str:
    """The syntax tree of a function or class without docstrings; where there is no source, the compiled code.

    There is none after exec, and for a lambda inside a call. Where a file defines a class twice, inspect gives the
    source of the first one; then the functions of the class count too, whose lines are known.
    """
    try:
        lines, first = inspect.getsourcelines(thing)
        tree = ast.parse(textwrap.dedent("".join(lines)))
        text = ast.unparse(_without_docstrings(tree))  # alike in all versions of Python, which ast.dump is not
        if isinstance(thing, type) and not _is_body_of(thing, tree, range(first, first + len(lines))):
            return "\n".join([text, "another of this name", *map(_tree_of, _functions_of(thing))])
        return text
    except (OSError, TypeError, SyntaxError):
        return "\n".join(_code_text(function.__code__) for function in _functions_of(thing))


def _is_body_of(cls: type, tree: ast.Module, lines: range) -> bool:
    """Whether the source in these lines defines the functions that the class has, and no others."""
    written = {node.name for node in tree.body[0].body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    own = [
        function
        for function in _functions_of(cls)
        if function.__qualname__ == f"{cls.__qualname__}.{function.__name__}"
        and function.__code__.co_filename == inspect.getsourcefile(cls)
    ]
    return {function.__name__ for function in own} == written and all(
        function.__code__.co_firstlineno in lines for function in own
    )


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            body[:] = body[1:] or [ast.Pass()]
    return tree


def _code_text(code: types.CodeType) -> str:
    constants = [_code_text(one) if isinstance(one, types.CodeType) else repr(one) for one in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


def _functions_of(thing: object) -> list[types.FunctionType]:
    """A function itself, or the functions in the body of a class, out of properties, class methods and decorators."""
    if not isinstance(thing, type):
        return [thing]
    found = []
    for value in vars(thing).values():
        inside = (getattr(value, name, None) for name in ("fget", "func", "compute", "__func__"))
        found += [inspect.unwrap(one) for one in (value, *inside) if callable(one)]
    return [one for one in found if isinstance(one, types.FunctionType)]


def _globals_of(function: types.FunctionType) -> dict[str, object]:
    """What the names in a function's code stand for: globals, and members of the user's and kit's modules."""
    names, found = set(_names_in(function.__code__)), {}
    for name in names & function.__globals__.keys():
        value = found[name] = function.__globals__[name]
        if isinstance(value, types.ModuleType) and _is_own_module(value):
            found |= {f"{name}.{other}": getattr(value, other) for other in names if hasattr(value, other)}
    return found


def _named_by(thing: object) -> Iterator[object]:
    """The functions and classes that `thing` names, and that are no package's."""
    for function in _functions_of(thing):
        closed = [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]
        for value in (*closed, *_globals_of(function).values()):
            inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
            yield from filter(None, map(_followed, (value, *inside)))  # a table of readers by suffix counts too


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _is_empty(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is None
    except ValueError:  # not filled yet
        return True


def _followed(value: object) -> object | None:
    """The function or class that `value` is, without its decorators; None for all else, and for a package's."""
    value = value.func if isinstance(value, functools.partial) else value
    value = inspect.unwrap(value) if callable(value) else value
    is_code = isinstance(value, type | types.FunctionType)
    return value if is_code and _is_own_module(sys.modules.get(value.__module__)) else None


def _is_own_module(module: types.ModuleType | None) -> bool:
    """Whether a module is the user's or kit's, and not of the standard library or a package."""
    if module is None:
        return False
    if module.__name__.partition(".")[0] == "kit":
        return True
    file = getattr(module, "__file__", None)
    if file is None:  # a notebook, or python -c; all else without a file is built in
        return module.__name__ == "__main__"
    return _is_own_file(file)


@functools.cache  # of thousands of modules that are loaded, again and again
def _is_own_file(file: str) -> bool:
    """Whether a source file is the user's, and not of the standard library or a package."""
    return not Path(file).is_relative_to(STANDARD_LIBRARY) and PACKAGES.isdisjoint(Path(file).parts)
