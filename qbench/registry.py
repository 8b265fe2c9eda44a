"""Names to plug-ins: what exists is read from the source text, and imported only when it is used.

Importing torch takes seconds, and ``--help``, ``list``, ``--plan`` and a refused study file must
answer at once. So a declaration is a decorated class or function whose facts are literals::

    @quantizers.register("lsq")
    class LSQ(Quantizer):
        '''Learned step size: the scale is trained with the task loss.'''

        bits = (2, 3, 4, 5, 6, 7, 8)

and its name, first docstring line, literal class attributes and keyword-only options are read with
:mod:`ast`. Third parties add modules through entry points of the group ``qbench.quantizers`` (or
``qbench.models``, ``qbench.datasets``, ``qbench.diagnostics``), or name one in a study file.
"""

import ast
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, create_model
from pydantic.fields import FieldInfo

from qbench.errors import UsageError, unknown

__all__ = ["Entry", "Registry", "datasets", "diagnostics", "load_plugin", "models", "quantizers"]

T = TypeVar("T")
_ANNOTATIONS = {
    "Literal": Literal, "int": int, "float": float, "bool": bool, "str": str, "tuple": tuple,
    "None": None, "__builtins__": {},
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One declaration, as read from its source file; nothing is imported to make it."""

    name: str
    module: str
    attribute: str
    source: Path
    doc: str
    facts: MappingProxyType[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Literal class attributes and keyword arguments of the decorator."""
    options: MappingProxyType[str, tuple[Any, Any]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """Keyword-only parameters: name to (type, default)."""

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.doc.strip().splitlines()[0] if self.doc.strip() else ""

    def check_options(self, given: dict[str, Any]) -> dict[str, Any]:
        """The options with their types checked, those equal to the default left out.

        Raises:
            pydantic.ValidationError: An option is unknown or has a wrong type.
        """
        checked = self._schema.model_validate_json(json.dumps(given), strict=True)
        return checked.model_dump(exclude_defaults=True)

    @cached_property
    def _schema(self) -> type[BaseModel]:
        fields: dict[str, Any] = {
            name: (kind, FieldInfo(default=default))
            for name, (kind, default) in self.options.items()
        }
        return create_model(self.name, __config__=ConfigDict(extra="forbid"), **fields)


class Registry:
    """The plug-ins of one kind."""

    def __init__(self, kind: str, package: str) -> None:
        """Read lazily from ``package``.

        Args:
            kind: The word used in messages, such as ``"quantizer"``.
            package: The package whose files declare the built-in ones; also the entry point group.
        """
        self.kind = kind
        self.package = package
        self._objects: dict[str, Any] = {}
        self._added: dict[str, Entry] = {}

    def register(self, *names: str, **facts: object) -> Callable[[T], T]:
        """Decorator: the class or function answers to ``names``; ``facts`` are literals.

        Raises:
            UsageError: A name is taken by another declaration.
        """

        def keep(declared: T) -> T:
            for name in names:
                taken = self._objects.get(name)
                if taken is not None and _where(taken) != _where(declared):
                    raise UsageError(
                        f"the {self.kind} '{name}' is declared twice, in {_where(taken)} and in "
                        f"{_where(declared)}; rename one"
                    )
                self._objects[name] = declared
            return declared

        return keep

    @cached_property
    def _built_in(self) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        root = Path(__file__).parent / self.package.split(".")[-1]
        for path in sorted(root.glob("*.py")):
            module = f"{self.package}.{path.stem}"
            found |= {
                entry.name: entry for entry in read_declarations(path, module, self._attribute)
            }
        for point in entry_points(group=self.package):
            found |= {entry.name: entry for entry in self._read_module(point.value.split(":")[0])}
        return found

    @property
    def _attribute(self) -> str:
        return self.package.split(".")[-1]

    def _read_module(self, module: str) -> list[Entry]:
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise UsageError(f"the plug-in module '{module}' cannot be found; is it installed?")
        return list(read_declarations(Path(spec.origin), module, self._attribute))

    def add_module(self, module: str) -> None:
        """Add the declarations of a module that the user named."""
        for entry in self._read_module(module):
            other = self._built_in.get(entry.name)
            if other is not None and other.module != entry.module:
                raise UsageError(
                    f"the plug-in '{module}' declares the {self.kind} '{entry.name}', which "
                    f"{other.module} declares already; rename it"
                )
            self._added[entry.name] = entry

    def entries(self) -> dict[str, Entry]:
        """All declarations by name, in alphabetical order."""
        return dict(sorted((self._built_in | self._added).items()))

    def entry(self, name: str) -> Entry:
        """The declaration of ``name``; a name ``family/x`` is found under ``family/*``.

        A family whose facts list its ``members``, a name each with its ``bits``, has no others.

        Raises:
            UsageError: There is none; the sentence names the nearest.
        """
        entries = self._built_in | self._added
        family, _, member = name.partition("/")
        found = entries.get(name) or entries.get(f"{family}/*")
        if found is None:
            raise UsageError(unknown(self.kind, name, entries))
        members = found.facts.get("members")
        if members is None or name == found.name:
            return found
        if member not in members:
            raise UsageError(unknown(self.kind, name, [f"{family}/{one}" for one in members]))
        return replace(found, facts=MappingProxyType({**found.facts, "bits": members[member]}))

    def load(self, name: str) -> Any:
        """Import and return what answers to ``name``; of a listed member, its class's ``member``.

        Raises:
            UsageError: There is none.
        """
        entry = self.entry(name)
        importlib.import_module(entry.module)
        found = self._objects[entry.name]
        is_member = "members" in entry.facts and name != entry.name
        return found.member(name.partition("/")[2]) if is_member else found


def _where(declared: Any) -> str:
    return f"{declared.__module__}.{declared.__qualname__}"


def read_declarations(path: Path, module: str, registry: str) -> Iterator[Entry]:
    """The declarations in a source file, without importing it.

    Args:
        path: The source file.
        module: Its dotted name.
        registry: The decorator's object: ``quantizers`` finds ``@quantizers.register(…)``.
    """
    text = path.read_text(encoding="utf-8")
    if f"@{registry}.register(" not in text:
        return
    for node in ast.parse(text, filename=str(path)).body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        for call in node.decorator_list:
            if not (
                isinstance(call, ast.Call) and ast.unparse(call.func) == f"{registry}.register"
            ):
                continue
            facts = _literals(node) | {
                word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg
            }
            doc = inspect.cleandoc(ast.get_docstring(node) or "")
            for name in call.args:
                yield Entry(
                    name=ast.literal_eval(name),
                    module=module,
                    attribute=node.name,
                    source=path,
                    doc=doc,
                    facts=MappingProxyType(facts),
                    options=MappingProxyType(_options(node)),
                )


def _literals(node: ast.ClassDef | ast.FunctionDef) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if isinstance(node, ast.FunctionDef):
        return found
    for line in node.body:
        target, value = None, None
        if isinstance(line, ast.Assign) and len(line.targets) == 1:
            target, value = line.targets[0], line.value
        elif isinstance(line, ast.AnnAssign):
            target, value = line.target, line.value
        if isinstance(target, ast.Name) and value is not None:
            try:
                found[target.id] = ast.literal_eval(value)
            except ValueError:
                continue  # not a literal: not a fact
    return found


def _options(node: ast.ClassDef | ast.FunctionDef) -> dict[str, tuple[Any, Any]]:
    function: ast.FunctionDef | None = None
    if isinstance(node, ast.FunctionDef):
        function = node
    else:
        for line in node.body:
            if isinstance(line, ast.FunctionDef) and line.name == "__init__":
                function = line
    if function is None:
        return {}
    found = {}
    pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    for argument, default in pairs:
        if default is None or argument.annotation is None:
            continue  # given by qbench, not by the user
        kind = eval(ast.unparse(argument.annotation), dict(_ANNOTATIONS))  # our grammar, own source
        found[argument.arg] = (kind, ast.literal_eval(default))
    return found


def load_plugin(name: str, folder: Path | None = None) -> str:
    """Make a plug-in module that a user named findable, and add its declarations everywhere.

    Args:
        name: A dotted module, or a path to a ``.py`` file (relative to ``folder``).
        folder: The folder of the study file that names it.

    Returns:
        An absolute path or a dotted name that a worker can load in the same way.
    """
    if name.endswith(".py"):
        path = ((folder or Path()) / name).resolve()
        if not path.is_file():
            raise UsageError(f"the plug-in '{name}' is not a file; it was looked for at {path}")
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        module, name = path.stem, str(path)
    else:
        module = name
    try:
        for registry in (quantizers, models, datasets, diagnostics):
            registry.add_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(f"the plug-in module '{module}' cannot be imported: {error}") from None
    return name


quantizers = Registry("quantizer", "qbench.quantizers")
models = Registry("model", "qbench.models")
datasets = Registry("data set", "qbench.datasets")
diagnostics = Registry("diagnostic", "qbench.diagnostics")
