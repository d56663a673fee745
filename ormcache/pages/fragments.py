"""Fragments of templates, named by what they use: nobody lists what a fragment depends on.

What a fragment reads from the database is tracked. What it takes from the variables around it was there before, so the
exact form of each variable that it uses is part of its name. Which ones it uses shows when it is rendered: the names
are remembered, by this process and in the store, and grow with what further renderings use. A variable that a rendering
has not used makes no difference to it, whatever it is; so more names than a rendering uses do no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from django.utils.safestring import SafeString, mark_safe

from ormcache import reasons
from ormcache.cache.keys import digest
from ormcache.cache.serializer import Unreadable
from ormcache.cache.tracking import current_tracker, tracked_by
from ormcache.pages.computing import compute
from ormcache.pages.derivation import Derivation, NotStorable, Use
from ormcache.pages.faults import Fault
from ormcache.pages.variables import VariableForm, form_of
from ormcache.utils.bounded import Bounded

#: Variables that a fragment uses at most: what uses more is not stored
MOST_NAMES = 100
#: Fragments whose names of variables one process remembers
MOST_FRAGMENTS = 4096

#: The name of the variable with Django's CSRF token: it is of one request, and reading it sets a cookie
CSRF_TOKEN = "csrf_token"  # noqa: S105  # a name
_NO_CSRF = Fault("the CSRF token", "put the form outside of the fragment, or only what surrounds the token into it")


class Fragment(NamedTuple):
    """One fragment of a template, and what decides its content besides variables and what it reads."""

    label: str
    source: bytes  # a digest of the text of its template
    key: bytes  # a digest of the arguments, the language and the like
    timeout: float | None = None  # seconds
    grace: float | None = None  # seconds
    using: str | None = None  # database alias


class Variables:
    """The variables around a fragment in one rendering: their exact forms, and which ones the fragment uses."""

    def __init__(self, read: Callable[[str], Any]) -> None:
        """``read``: returns the value of a variable, and raises KeyError if there is none of that name."""
        self._read = read
        self._around = current_tracker()
        self._forms: dict[str, str] = {}  # name → the exact form of its value
        self._changeable: dict[str, VariableForm] = {}
        self._faults: dict[str, Fault] = {}
        #: the names that the fragment has used
        self.used: set[str] = set()
        self._rejection: NotStorable | None = None

    def use(self, name: str) -> Any:
        """Return the value of a variable, and record that the fragment uses it. Raises KeyError if there is none."""
        self.form(name)
        self.used.add(name)
        return self._read(name)

    def form(self, name: str) -> str:
        """Return a text that is equal only for equal values: as the variable was when it was first asked for."""
        text = self._forms.get(name)
        if text is None:
            with tracked_by(self._around):  # what is loaded for it does not belong to the fragment
                text = self._forms[name] = self._form(name)
        return text

    def _form(self, name: str) -> str:
        try:
            if name == CSRF_TOKEN:
                raise _NO_CSRF
            value = self._read(name)
            text, self._changeable[name] = form_of(value)
        except KeyError:
            return "missing"
        except Fault as fault:
            self._faults[name] = fault
            return "any"  # what is stored under such a name has not used it
        return f"={text}"

    def reject(self, reason: str, subject: str) -> None:
        """Record that the fragment cannot be stored; the first reason stays."""
        if self._rejection is None:
            self._rejection = NotStorable(reason, subject)

    def check(self) -> None:
        """Raise NotStorable if what the fragment has used does not decide its content, or was changed by it."""
        for name in sorted(self.used):
            fault = self._faults.get(name)
            if fault is not None:
                raise NotStorable(reasons.VARIABLE, f"{name}{fault.path} is {fault.what}: {fault.advice}")
            form = self._changeable.get(name)
            if form is not None and not form.is_unchanged():
                raise NotStorable(reasons.VARIABLE, f"{name} is changed by the fragment")
        if self._rejection is not None:
            raise self._rejection


#: (database alias, name and source of a fragment) → the names of variables that it has used
_known: Bounded[tuple[str | None, bytes], tuple[str, ...]] = Bounded(MOST_FRAGMENTS)


def forget_names() -> None:
    """Forget which variables fragments have used, as a process that has just begun."""
    _known.clear()


def render(fragment: Fragment, variables: Variables, content: Callable[[], str]) -> SafeString:
    """Return what is stored of a fragment, or what ``content`` returns. Raises what that raises."""
    names = _Names(fragment)

    def key_after() -> bytes:
        variables.check()
        if not variables.used <= set(names.names):
            names.add(variables.used)
        return _key(fragment, names.names, variables)

    use = Use(
        "fragment",
        fragment.label,
        _key(fragment, names.names, variables),
        fragment.timeout,
        fragment.grace,
        fragment.using,
        key_after,
    )
    return mark_safe(compute(use, content, str.__str__, _load))  # noqa: S308  # it was rendered by a template


def _load(payload: Any) -> str:
    if type(payload) is not str:
        raise Unreadable("no text")
    return payload


def _key(fragment: Fragment, names: tuple[str, ...], variables: Variables) -> bytes:
    forms = (part for name in names for part in (name.encode(), variables.form(name).encode("utf-8", "surrogatepass")))
    return digest(fragment.source, fragment.key, *forms)


class _Names:
    """The names of the variables that a fragment has used in renderings so far, sorted."""

    def __init__(self, fragment: Fragment) -> None:
        self._id = fragment.using, digest(fragment.label.encode(), fragment.source)
        self._use = Use("fragment", fragment.label, digest(b"names", self._id[1]), using=fragment.using)
        known = _known.get(self._id)
        if known is None:
            known = self._stored(Derivation(self._use))
            if known:
                _known.put(self._id, known)
        self.names: tuple[str, ...] = known

    def add(self, used: set[str]) -> None:
        """Add names, and those that other processes have added. Raises NotStorable if these are too many."""
        derivation = Derivation(self._use)
        names = tuple(sorted({*self.names, *self._stored(derivation), *used}))
        if len(names) > MOST_NAMES:
            raise NotStorable(reasons.TOO_LARGE, f"{len(names)} variables")
        with derivation.computing():
            pass  # they depend on nothing
        derivation.store(list(names))
        _known.put(self._id, names)
        self.names = names

    def _stored(self, derivation: Derivation) -> tuple[str, ...]:
        found = derivation.look_up()
        names = [] if found is None else found.payload
        if type(names) is not list or not all(type(name) is str for name in names) or len(names) > MOST_NAMES:
            return ()
        return tuple(sorted(names))
