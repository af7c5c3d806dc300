"""A network made again from what a run folder keeps: the source of the script and of the user's modules, and a call.

    kept = keep(network)                 the call as JSON, the source files
    make = rebuild(kept, files)          a function that makes the network, as `network` did

Why source, and not torch.export or a pickled module? An exported graph is bound to the version of PyTorch that wrote it
and to the sizes that its code loops over (tiles); a pickled module needs the very classes that were there, of the same
versions, and the script that defined them. Source is read and edited by people, and gives the same network bit for bit.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.machinery
import importlib.util
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import nn

from kit.data.identity import LOADED_SCRIPT, own_sources
from kit.prediction.plain import Decoder, Encoder, LackingValue, is_lacking, text_of
from kit.prediction.script import Script

_LOCK = threading.RLock()  # held while modules of a run folder are imported


@dataclasses.dataclass(frozen=True)
class KeptCall:
    """How a network is made. All but the texts is JSON.

    call: the callable, see plain.py. values: of the script's top level that it needs, by name.
    script: the file name of the script; None where it takes no part. package: that the script was run in, or None.
    modules: the file of each of the user's modules. texts: the source by file, below the folder of the code.
    """

    call: object
    values: dict[str, object]
    script: str | None
    package: str | None
    modules: dict[str, str]
    texts: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)


def keep(network: Callable[[], nn.Module]) -> KeptCall:
    """What is needed to call `network` again in another process. Raises LackingValue where it cannot be kept at all.

    A value inside it that cannot be kept is replaced by one that raises LackingValue when it is used.
    """
    encode = Encoder()
    call = encode(network)
    if is_lacking(call):
        raise LackingValue(call["lacking"])
    modules, texts = kept_modules(own_sources())
    main = text_of("__main__")
    if main is None:
        if encode.needed:
            raise LackingValue(f"{', '.join(sorted(encode.needed))}, defined where there is no file, as in a notebook")
        return KeptCall(call, {}, None, None, modules, texts)
    script = f"{Path(sys.modules['__main__'].__file__).stem}.py"
    values = _values_of(encode, Script(main)) if encode.needed else {}
    package = getattr(sys.modules["__main__"], "__package__", None)
    return KeptCall(call, values, script, package, modules, {script: main, **texts})


def kept_modules(sources: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The file of each module by its name, and the source of each file."""
    files = {
        name: f"modules/{name.replace('.', '/')}{'/__init__' if hasattr(sys.modules[name], '__path__') else ''}.py"
        for name in sources
    }
    return files, {files[name]: text for name, text in sources.items()}


def _values_of(encode: Encoder, script: Script) -> dict[str, object]:
    """The names of the script's top level that the call needs and that are plain values; encode.needed grows."""
    namespace, values, seen = vars(sys.modules["__main__"]), {}, set()
    while waiting := encode.needed - seen:
        for name in sorted(waiting):
            seen.add(name)
            if script.is_value(name) and name in namespace:
                value = encode(namespace[name])
                if not is_lacking(value, inside=True):
                    values[name] = value
                    continue
            encode.needed |= set().union(*map(script.used_by, script.binding(name)))
    return values


def rebuild(kept: KeptCall, folder: Path | None = None) -> Callable[[], nn.Module]:
    """The callable that `keep` was given, made again. Runs code that was kept.

    folder: of the files kept.texts; None: the modules that are loaded now.
    """

    def make() -> nn.Module:
        with _importing(kept, folder):
            return Decoder(_Modules(kept, folder))(kept.call)()

    return make


class _Modules:
    """Modules by name; "__main__" is the part of the script that the call needs, run when first asked for."""

    def __init__(self, kept: KeptCall, folder: Path | None) -> None:
        self.kept, self.folder, self._script = kept, folder, None

    def __call__(self, name: str) -> types.ModuleType:
        if name != "__main__":
            return importlib.import_module(name)
        if self._script is None:
            self._run()
        return self._script

    def _run(self) -> None:
        """Run the needed statements of the script, each value in the place of its first statement."""
        text, path = self.kept.texts[self.kept.script], str((self.folder or Path()) / self.kept.script)
        key = hashlib.sha256(repr((text, self.kept.call, self.kept.values)).encode()).hexdigest()[:12]
        self._script = types.ModuleType(f"{LOADED_SCRIPT}{key}")
        self._script.__file__, self._script.__package__ = path, self.kept.package
        sys.modules[self._script.__name__] = self._script  # dataclasses look for their module there
        script, decode, namespace = Script(text), Decoder(self), vars(self._script)
        needed = set(script.needed(_script_names(self.kept), self.kept.values))
        left = dict(self.kept.values)
        for number in range(len(script.bound)):
            if number in needed:
                exec(script.compiled(number, path), namespace)
            for name in script.bound[number].keys() & left.keys():
                namespace[name] = decode(left.pop(name))


def lacking_values(kept: KeptCall) -> list[str]:
    """Descriptions of the values that could not be kept."""
    return [str(part["lacking"]) for part in _parts(kept) if "lacking" in part]


def _script_names(kept: KeptCall) -> set[str]:
    """The names of the script's top level that the call and the values refer to."""
    encode = Encoder()
    for part in _parts(kept):
        encode.note(part)
    return encode.needed


def _parts(kept: KeptCall) -> Iterator[dict]:
    """All dictionaries in the JSON."""
    waiting = [kept.call, *kept.values.values()]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
        waiting += value if isinstance(value, list) else value.values() if isinstance(value, dict) else []


@contextlib.contextmanager
def _importing(kept: KeptCall, folder: Path | None) -> Iterator[None]:
    """Import the user's modules from `folder`, unless all that are loaded come from there; others come back later.

    Those of the same text elsewhere are not taken: a file may have been edited since it was imported. What the network
    imports in its forward pass is found afterwards too: the modules stay loaded, and the finder comes last from then
    on. But of two runs with different modules of one name, such an import finds the first one's. One thread at a time.
    """
    if folder is None:
        yield
        return
    with _LOCK:
        finder, loaded = _Finder(folder, kept.modules), [name for name in kept.modules if name in sys.modules]
        is_same = all(_is_from(name, folder / kept.modules[name], kept) for name in loaded)
        others = {} if is_same else {name: sys.modules.pop(name) for name in loaded}
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            sys.modules.update(others)
            if finder not in sys.meta_path:
                sys.meta_path.append(finder)


def _is_from(name: str, file: Path, kept: KeptCall) -> bool:
    """Whether a loaded module comes from this file of the run folder."""
    own = getattr(sys.modules[name], "__file__", None)
    return own is not None and Path(own) == file and text_of(name) == kept.texts[kept.modules[name]]


@dataclasses.dataclass(frozen=True)
class _Finder:
    """Finds the user's modules in the run folder, and the folders between them. modules: the file of each name."""

    folder: Path
    modules: dict[str, str]

    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """The module's file; of a package without one, an empty package; None for all other modules."""
        file = str(self.folder / self.modules.get(name, ""))
        if name in self.modules and Path(file).is_file():
            search = [] if file.endswith("__init__.py") else None
            loader = _Loader(name, file)
            return importlib.util.spec_from_file_location(name, file, loader=loader, submodule_search_locations=search)
        if any(other.startswith(f"{name}.") for other in self.modules):
            return importlib.machinery.ModuleSpec(name, None, is_package=True)
        return None


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a source file, and leaves no compiled one beside it."""

    def source_to_code(self, data: bytes, path: str, *, _optimization: int = -1) -> types.CodeType:
        """Compile the text, which is kept in UTF-8 whatever encoding its first line names."""
        return compile(data.decode(), path, "exec", dont_inherit=True, optimize=_optimization)

    def set_data(self, path: str, data: bytes, *, _mode: int = 0o666) -> None:
        """Write nothing."""
