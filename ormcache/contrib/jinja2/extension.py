"""The extension with the tag ``{% ormcache %}``.

Jinja2 compiles templates to Python code, so the names of all variables that a fragment can use are known at once. Their
exact forms are part of the fragment's name, whether a rendering uses them or not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from jinja2 import Undefined, nodes, pass_eval_context
from jinja2.ext import Extension
from jinja2.meta import find_undeclared_variables
from jinja2.parser import Parser
from markupsafe import Markup

from ormcache import reasons
from ormcache.cache.keys import digest
from ormcache.pages.faults import Fault
from ormcache.pages.fragments import Fragment, Variables, render
from ormcache.pages.surroundings import surroundings
from ormcache.pages.variables import form_of

_OPTIONS = ("timeout", "grace", "using")
#: What belongs to the template around a fragment, and to macros
_OF_TEMPLATE = frozenset({"self", "super", "caller", "varargs", "kwargs"})
#: Nodes that bring along what is not in the text of a fragment → how templates write them
_FROM_ELSEWHERE: dict[type[nodes.Node], str] = {
    nodes.Block: "{% block %}",
    nodes.Include: "{% include %}",
    nodes.Import: "{% import %}",
    nodes.FromImport: "{% from %}",
    nodes.ContextReference: "the context as a whole",
    nodes.DerivedContextReference: "the context as a whole",
}


class FragmentExtension(Extension):
    """Adds ``{% ormcache "name" %}…{% endormcache %}``: rendered once, until what it has read is written."""

    tags = {"ormcache"}  # noqa: RUF012  # as extensions have it

    def parse(self, parser: Parser) -> nodes.Node:
        """Return the node of a fragment, which calls :meth:`_render`."""
        line = next(parser.stream).lineno
        label = parser.parse_expression()
        if not isinstance(label, nodes.Const) or not isinstance(label.value, str) or not label.value:
            parser.fail('the name of a fragment is a text in quotes: {% ormcache "name" %}', line)
        varies: list[nodes.Expr] = []
        options: list[nodes.Pair] = []
        while parser.stream.skip_if("comma"):
            token = parser.stream.current
            if token.type == "name" and parser.stream.look().type == "assign":
                if token.value not in _OPTIONS:
                    parser.fail(f"{token.value} is none of {', '.join(_OPTIONS)}", line)
                parser.stream.skip(2)
                options.append(nodes.Pair(nodes.Const(token.value), parser.parse_expression()))
            else:
                varies.append(parser.parse_expression())
        body = parser.parse_statements(("name:endormcache",), drop_needle=True)
        whole = nodes.Template(body, lineno=line)
        whole.set_environment(self.environment)
        found = {node.name for node in whole.find_all(nodes.Name)}
        # Names of the environment's own are among them, because a variable can stand in their place.
        names = sorted(find_undeclared_variables(whole) | (found & self.environment.globals.keys()))
        values = [nodes.Pair(nodes.Const(name), nodes.Name(name, "load")) for name in names]
        source = digest(repr(body).encode("utf-8", "surrogatepass"))
        call = self.call_method(
            "_render",
            [
                label,
                nodes.Const(source),
                nodes.Const(self._rejection(whole, found)),
                nodes.List(varies),
                nodes.Dict(values),
                nodes.Dict(options),
            ],
        )
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _rejection(self, whole: nodes.Template, names: set[str]) -> tuple[str, str] | None:
        """Return why a fragment is not the same each time, as far as its text shows: the reason, and what is it."""
        for kind, text in _FROM_ELSEWHERE.items():
            if next(whole.find_all(kind), None) is not None:
                return reasons.TEMPLATE_STATE, text
        for name in sorted(names & _OF_TEMPLATE):
            return reasons.TEMPLATE_STATE, name
        if "lipsum" in names:
            return reasons.RANDOM, "lipsum()"
        for kind, found in ((nodes.Filter, self.environment.filters), (nodes.Test, self.environment.tests)):
            for node in whole.find_all(kind):
                if node.name == "random":
                    return reasons.RANDOM, "|random"
                if _takes_context(found.get(node.name)):
                    return reasons.VARIABLE, f"{node.name} is given the context as a whole"
        return None

    @pass_eval_context
    def _render(
        self,
        eval_context: Any,
        label: str,
        source: bytes,
        rejection: tuple[str, str] | None,
        varies: list[Any],
        values: dict[str, Any],
        options: dict[str, Any],
        caller: Callable[[], Any],
    ) -> Any:
        """Return what is stored of a fragment, or render it by ``caller``. ``values``: of the names that it can use."""
        around = surroundings()
        if self.environment.is_async or around is None:
            return caller()
        forms = [self._form(label, value) for value in varies]
        variables = Variables(lambda name: self._read(values, name))
        if rejection is not None:
            variables.reject(*rejection)
        for name, value in values.items():
            if _takes_context(value):
                variables.reject(reasons.VARIABLE, f"{name} is given the context as a whole")
            elif self.environment.globals.get(name) is value and callable(value):
                continue  # a part of the environment, as filters are
            try:
                variables.use(name)
            except KeyError:
                pass  # that there is none is part of its name
        settled = (eval_context.autoescape, forms)
        key = digest(b"jinja2", around.encode(), repr(settled).encode("utf-8", "surrogatepass"))
        self._check(label, options)
        text = render(Fragment(label, source, key, **options), variables, lambda: str(caller()))
        # It was escaped when it was rendered.
        return Markup(text) if eval_context.autoescape else str.__str__(text)  # noqa: S704

    def _read(self, values: dict[str, Any], name: str) -> Any:
        value = values[name]
        if isinstance(value, Undefined):
            raise KeyError(name)
        return value

    def _form(self, label: str, value: Any) -> str:
        """Return the exact form of an argument. Raises TypeError if it has none."""
        if isinstance(value, Undefined):
            raise TypeError(f'{{% ormcache "{label}" %}}: an argument does not exist: {value._undefined_message}')
        try:
            return form_of(value)[0]
        except Fault as fault:
            raise TypeError(f'{{% ormcache "{label}" %}}: an argument{fault.path} is {fault.what}') from fault

    def _check(self, label: str, options: dict[str, Any]) -> None:
        """Raise TypeError for options that are wrong."""
        for name, value in options.items():
            if name == "using":
                is_right = value is None or value in settings.DATABASES
            else:
                is_right = value is None or (type(value) in (int, float) and value > 0)
            if not is_right:
                raise TypeError(f'{{% ormcache "{label}" %}}: {name}={value!r} is wrong')


def _takes_context(value: Any) -> bool:
    """Return whether Jinja2 gives a function the context, in which it can look up anything."""
    if isinstance(value, Undefined):
        return False
    return getattr(getattr(value, "jinja_pass_arg", None), "name", None) == "context"
