"""Messages of kit name no flag that a recipe or a script may lack."""

import ast
import re
from pathlib import Path

import kit

ROOT = Path(kit.__file__).parent
EVERY_RECIPE = {"--fold", "--data-dir", "--run-dir", "--seed", "--device", "--workers"}
OTHERS = (
    "cli/",
    "bundle/",
    "ledger/",
    "new/",
    "submission/",
    "bench/",
    "datasets/download.py",
    "runs/provenance.py",
)  # python -m kit's, git's


def texts(path: Path) -> list[tuple[int, str]]:
    """The texts in a file, with their lines, but no docstrings."""
    tree = ast.parse(path.read_text())
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs]
    return [(node.lineno, node.value) for node in constants if isinstance(node.value, str)]


def test_messages_name_only_flags_that_every_recipe_has():
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(OTHERS):
            continue
        for line, text in texts(path) if "--" in path.read_text() else ():
            flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) - EVERY_RECIPE
            found += [f"{name}:{line} {flag}" for flag in sorted(flags)]
    assert found == []


def test_the_texts_of_a_file_are_found(tmp_path):
    path = tmp_path / "a.py"
    path.write_text('"""--doc"""\nx = f"{1} --a"\ndef f():\n    """--doc"""\n    raise ValueError("--b")\n')
    assert [text for _, text in texts(path)] == [" --a", "--b"]
