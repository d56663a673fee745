"""The tag ``{% ormcache %}``: a fragment of a template, rendered once, until something is written that it has read.

::

    {% load ormcache %}
    {% ormcache "sidebar" %}…{% endormcache %}
    {% ormcache "greeting" name=request.user.first_name timeout=3600 %}Hello {{ name }}{% endormcache %}
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.template import Context, Library, Node, NodeList, TemplateSyntaxError, Variable, VariableDoesNotExist
from django.template.base import FilterExpression, Parser, Token, token_kwargs
from django.utils.safestring import SafeString

from ormcache.cache.keys import digest
from ormcache.pages.faults import Fault
from ormcache.pages.fragments import Fragment, Variables, render
from ormcache.pages.nodes import Examined, examine
from ormcache.pages.surroundings import surroundings
from ormcache.pages.template_context import OuterContext, inner_context
from ormcache.pages.variables import form_of

register = Library()

_OPTIONS = ("timeout", "grace", "using")
_USAGE = '{% ormcache "name" value … variable=value … timeout=seconds grace=seconds using=alias %}'


class FragmentNode(Node):
    """A fragment of a template."""

    def __init__(
        self,
        nodelist: NodeList,
        label: str,
        source: bytes,
        varies: list[FilterExpression],
        values: dict[str, FilterExpression],
    ) -> None:
        """``source``: a digest of the text. ``values``: options, and variables of the fragment."""
        self.nodelist = nodelist
        self._label = label
        self._source = source
        self._varies = varies
        self._values = {name: value for name, value in values.items() if name not in _OPTIONS}
        self._options = {name: value for name, value in values.items() if name in _OPTIONS}
        self._examined: Examined | None = None

    def render(self, context: Context) -> SafeString:
        """Return what is stored of the fragment, or render it."""
        examined = self._examined
        if examined is None:  # only now are all partials of its template known
            examined = self._examined = examine(self.nodelist)
        varies = [self._resolve(each, context) for each in self._varies]
        values = {name: self._resolve(each, context) for name, each in self._values.items()}
        forms = [self._form(each, value) for each, value in zip(self._varies, varies, strict=True)]
        forms += [f"{name}={self._form(self._values[name], value)}" for name, value in values.items()]
        options = {name: self._option(name, each, context) for name, each in self._options.items()}
        outer = OuterContext(context)
        variables = Variables(outer)
        inner = inner_context(context, outer, variables, values)
        if examined.rejection is not None:
            variables.reject(*examined.rejection)
        around = surroundings()
        if around is None:
            return self.nodelist.render(inner)
        key = _key(context, outer, around, forms)
        fragment = Fragment(self._label, digest(self._source, examined.source), key, **options)
        return render(fragment, variables, lambda: self.nodelist.render(inner))

    def _resolve(self, expression: FilterExpression, context: Context) -> Any:
        """Return the value of an argument. Raises TemplateSyntaxError for a variable that does not exist."""
        if isinstance(expression.var, Variable) and not expression.filters:
            try:
                return expression.var.resolve(context)
            except VariableDoesNotExist as error:
                raise TemplateSyntaxError(
                    f'{{% ormcache "{self._label}" %}}: there is no {expression.token}. '
                    f'Write {expression.token}|default:"" if it may be missing'
                ) from error
        return expression.resolve(context)

    def _form(self, expression: FilterExpression, value: Any) -> str:
        """Return the exact form of an argument. Raises TemplateSyntaxError if it has none."""
        try:
            return form_of(value)[0]
        except Fault as fault:
            raise TemplateSyntaxError(
                f'{{% ormcache "{self._label}" %}}: {expression.token}{fault.path} is {fault.what}, which has no exact '
                f"form: give it what the fragment needs, such as {expression.token}.pk"
            ) from fault

    def _option(self, name: str, expression: FilterExpression, context: Context) -> Any:
        value = self._resolve(expression, context)
        if name == "using":
            if value is not None and value not in settings.DATABASES:
                raise TemplateSyntaxError(f'{{% ormcache "{self._label}" %}}: using={value!r} is not in DATABASES')
            return value
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
            raise TemplateSyntaxError(f'{{% ormcache "{self._label}" %}}: {name}={value!r} is no number of seconds')
        return value


def _key(context: Context, outer: OuterContext, around: str, forms: list[str]) -> bytes:
    """Return a digest of what decides a fragment besides its text, its variables and its reads."""
    template: Any = context.template
    engine = "" if template is None else template.engine.string_if_invalid
    settled = (context.autoescape, context.use_l10n, context.use_tz, engine, outer.has, forms)
    return digest(around.encode(), repr(settled).encode("utf-8", "surrogatepass"))


@register.tag("ormcache")
def do_ormcache(parser: Parser, token: Token) -> FragmentNode:
    """Store what this fragment renders, until something is written that it has read.

    ``{% ormcache "name" value … variable=value … timeout=seconds grace=seconds using=alias %}``
    """
    bits = token.split_contents()[1:]
    if not bits:
        raise TemplateSyntaxError(f"a fragment needs a name: {_USAGE}")
    label = parser.compile_filter(bits[0])
    if isinstance(label.var, Variable) or label.filters or not label.var:
        raise TemplateSyntaxError(f"the name of a fragment is a text in quotes, and not {bits[0]}: {_USAGE}")
    rest, varies = bits[1:], []
    while rest and not token_kwargs(rest[:1], parser):
        varies.append(parser.compile_filter(rest.pop(0)))
    values = token_kwargs(rest, parser)
    if rest:
        raise TemplateSyntaxError(f"{rest[0]} follows an argument with a name: {_USAGE}")
    before: list[Any] = list(parser.tokens)  # in reverse
    nodelist = parser.parse(("endormcache",))
    text = before[len(parser.tokens) :]
    parser.delete_first_token()
    parts = (f"{each.token_type.value} {each.contents}".encode("utf-8", "surrogatepass") for each in text)
    return FragmentNode(nodelist, str(label.var), digest(*parts), varies, values)
