"""State has owners: an object's attributes are assigned by its own methods, and nowhere else.

So what can become of an object is said in its class. The code that constructs an object may complete it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "ormcache"

#: Module → the targets in it that are attributes of other libraries' objects, and what those are
FOREIGN = {
    "connection/cursors.py": {"cursor.__class__"},  # Django's cursor, as one of a class that tracks statements
    "diagnostics/explain/subject.py": {"compiler.col_count"},  # Django's compiler
    "diagnostics/warmup.py": {"compiler.col_count", "compiler.has_extra_select"},
    "management/subcommands/explain.py": {"table.columns[0].overflow", "table.columns[1].overflow"},  # rich's tables
    "management/subcommands/stats.py": {
        "table.columns[0].overflow",
        "table.columns[2].overflow",
        "table.columns[4].justify",
    },
    "pages/request_watch.py": {"request.__class__"},  # Django's request, as one of a class that notes what is read
    "pages/session_watch.py": {"session.__class__"},  # Django's session, as one of a class that notes its key is read
    "pages/visitors.py": {"session.accessed", "session.modified"},  # Django's, which notes whether it was read
    "pages/template_context.py": {"inner.__class__", "inner.render_context"},  # Django's context
    "testing/overriding.py": {"setattr(cls, …)", "cls.setUpClass"},  # the test case that is decorated
}


def assigned(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the targets of a statement, those inside of tuples too."""
    targets: list[ast.expr | None] = []
    if isinstance(node, (ast.Assign, ast.Delete)):
        targets = [*node.targets]
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign, ast.For, ast.AsyncFor, ast.NamedExpr)):
        targets = [node.target]
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        targets = [item.optional_vars for item in node.items]
    while targets:
        target = targets.pop()
        if isinstance(target, (ast.Tuple, ast.List)):
            targets += target.elts
        elif isinstance(target, ast.Starred):
            targets.append(target.value)
        elif target is not None:
            yield target


def constructed(function: ast.AST) -> set[str]:
    """Return the names of local objects that a function has constructed itself."""
    names = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            made = node.value.func
            name = made.attr if isinstance(made, ast.Attribute) else getattr(made, "id", "")
            if name[:1].isupper() or name == "__new__":
                names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def faults(node: ast.AST, own: frozenset[str] = frozenset()) -> Iterator[tuple[int, str]]:
    """Yield what assigns to attributes of objects that are not its own, as line and target.

    ``own``: the names that stand for what the code around may assign to.
    """
    for child in ast.iter_child_nodes(node):
        inner = own
        if isinstance(child, ast.ClassDef):
            inner = own | {child.name}
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = [argument.arg for argument in child.args.args[:1] if argument.arg in ("self", "cls")]
            is_method = isinstance(node, ast.ClassDef)
            inner = own | constructed(child) | (frozenset(first) if is_method else frozenset())
        for target in assigned(child):
            if isinstance(target, ast.Attribute):
                owner = target.value
                if not (isinstance(owner, ast.Name) and owner.id in own):
                    yield target.lineno, ast.unparse(target)
        if isinstance(child, ast.Call):
            called = child.func
            if isinstance(called, ast.Name) and called.id in ("setattr", "delattr"):
                owner = child.args[0]
                if not (isinstance(owner, ast.Name) and owner.id in own):
                    yield child.lineno, f"{called.id}({ast.unparse(owner)}, …)"
            elif isinstance(called, ast.Attribute) and called.attr == "__init__":
                if not (isinstance(called.value, ast.Call) and ast.unparse(called.value.func) == "super"):
                    yield child.lineno, ast.unparse(called)
            elif ast.unparse(called) == "object.__setattr__":
                if ast.unparse(child.args[0]) not in own:
                    yield child.lineno, ast.unparse(child)
        yield from faults(child, inner)


def faults_in(source: str) -> list[str]:
    return sorted(target for _, target in faults(ast.parse(source)))


def test_objects_change_themselves():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).as_posix()
        targets = {(line, target) for line, target in faults(ast.parse(path.read_text(encoding="utf-8")))}
        foreign = FOREIGN.get(module, set())
        found[module] = [f"line {line}: {target}" for line, target in sorted(targets) if target not in foreign]
        assert foreign <= {target for _, target in targets}, f"{module}: these are no more"

    assert {module: targets for module, targets in found.items() if targets} == {}


def test_what_assigns_to_others_is_found():
    source = """
class A:
    def one(self, other, *more):
        self.a = 1
        other.b = 2
        self.inner.c += 3
        (self.d, other.e), *other.f = more
        for other.g in more:
            pass
        del other.h
        setattr(other, "i", 4)
        setattr(self, "i", 4)
        other.__init__()
        super().__init__()
        self.__init__()
        made = A()
        made.j = 5
        A.k = 6

        def inner():
            self.l = 7
            made.m = 8

    @classmethod
    def two(cls):
        cls.n = 9

def three(self):
    self.o = 10
    with open(x) as self.p:
        pass
"""
    assert faults_in(source) == sorted(
        [
            "other.b",
            "self.inner.c",
            "other.e",
            "other.f",
            "other.g",
            "other.h",
            "setattr(other, …)",
            "other.__init__",
            "self.__init__",
            "self.o",
            "self.p",
        ]
    )
