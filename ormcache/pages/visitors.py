"""Whom a page is for: names the visitor, and sees to it that a view reads no more of the visitor than the name says.

The session and the messages are read before the block that is tracked, because they are read by the clock. The user
whom Django's session middleware has put on the request is loaded anew inside it, so that what is rendered of the user
depends on the user's row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from django.contrib import auth
from django.db.models import Model
from django.http import HttpRequest
from django.utils.functional import LazyObject, SimpleLazyObject, cached_property, empty

from ormcache import reasons
from ormcache.cache.keys import Unkeyable, exact_text
from ormcache.pages.arguments import ExactForm
from ormcache.pages.faults import Fault
from ormcache.pages.replacing import MISSING, replaced
from ormcache.pages.session_watch import can_be_watched, forget_key_read, is_key_read, watched

ANONYMOUS: Final = "anonymous"
USER: Final = "user"
SESSION: Final = "session"

#: Whom the pages of a view are for: "anonymous", "user", "session", or a function that names the visitor
Per = str | Callable[[Any], Any]

#: What is on the request as its user: nothing; the one whom Django finds in the session; Django's AnonymousUser, as it
#: is by itself; one whom others are yet to find; another one. Two requests with different ones share no page
_NONE, _OF_SESSION, _ANONYMOUS, _TO_BE_FOUND, _FOUND = "none", "of the session", "anonymous", "to be found", "found"

#: What is in the ``__dict__`` of a user besides fields and what others have set, and is found anew
_FOUND_ANEW = frozenset({"_state", "_prefetched_objects_cache", "_perm_cache", "_user_perm_cache", "_group_perm_cache"})
#: Where the function is that finds the user in the session
_DJANGOS = "django.contrib.auth.middleware"


class PassedBy(Exception):
    """Raised for a request that is answered without the cache."""

    def __init__(self, reason: str, subject: str | None = None) -> None:
        """``subject``: what the reason is about, for people; None: nothing can be said."""
        super().__init__(reason, subject)
        self.reason = reason
        self.subject = subject


class _Reads(NamedTuple):
    session: bool
    key: bool  # of the session
    user: bool


class Visitor:
    """The visitor who has made one request."""

    def __init__(self, request: HttpRequest, given: Any, per: Per) -> None:
        """``request``: Django's. ``given``: what the view is given, which may be another one around it."""
        self._request = request
        self._given = given
        self._per = per
        self._session: Any = getattr(request, "session", None)
        self._user: Any = vars(request).get("user")
        self._kind_of_user = _kind_of(self._user)
        self._user_id: Any = None  # in the session
        self._is_strange = self._session is not None and not can_be_watched(self._session)
        self._is_blank = self._session is None or (not self._is_strange and self._session.is_empty())
        #: what is read of the visitor in the block that is running
        self._has_read_user = False
        self._loaded: Any = None  # the user, in the block that is running
        self._aloaded: Any = None  # the same, by request.auser()
        self._read = self._read_for_name = _Reads(session=False, key=False, user=False)
        self._is_modified = False
        #: what others have set on the user before it
        self._attributes: Any = None
        self._aattributes: Any = None  # by request.auser()
        self._is_named_by_attributes = False

    # Naming -----------------------------------------------------------------------------

    @property
    def needs_loading(self) -> bool:
        """Whether naming the visitor may read from a database, which an event loop must not."""
        return not self._is_blank or callable(self._per)

    def name(self) -> str:
        """Return a text that is equal only for visitors who may be shown the same pages. Raises PassedBy.

        Raises TypeError if a function names the visitor by something that has no exact text.
        """
        if self._is_strange:
            raise PassedBy(reasons.SESSION)
        try:
            data = self._load_session()
        except PassedBy:
            raise
        except Exception:  # noqa: BLE001  # where sessions are is away: a view may have no need of it
            raise PassedBy(reasons.SESSION) from None
        self._user_id = data.get(auth.SESSION_KEY)
        self._check_user()
        named = self._name_by_function(self._per) if callable(self._per) else self._name_by_session(data)
        return named + self._name_attributes()

    def _load_session(self) -> dict[str, Any]:
        """Return what is in the session. Raises PassedBy, and what reading the session raises."""
        data: dict[str, Any] = {}
        if self._session is not None:
            with self._without_trace():
                data = dict(self._session.items())  # loads nothing if it is blank
            self._is_blank = not data and self._session.is_empty()
        self._load_messages()
        return data

    def _name_by_session(self, data: dict[str, Any]) -> str:
        whose = f"{self._per} {self._kind_of_user}"
        user = None
        if auth.SESSION_KEY in data:
            if self._per == ANONYMOUS:
                raise PassedBy(reasons.LOGGED_IN)
            user = [data.get(key) for key in (auth.SESSION_KEY, auth.BACKEND_SESSION_KEY, auth.HASH_SESSION_KEY)]
        if self._is_blank:
            return f"{whose}: no session"
        try:
            if self._per == SESSION:
                return f"{whose}: {exact_text([data])}"
            return f"{whose}: {exact_text(user)}"
        except Unkeyable:
            raise PassedBy(reasons.SESSION) from None

    def _name_by_function(self, function: Callable[[Any], Any]) -> str:
        with self.inside():
            named = function(self._given)
        self._read_for_name = self._read
        if named is None:
            raise PassedBy(reasons.UNNAMED)
        whose = "function"
        if self._read.user and self._is_of_others():
            # What of this user is in the page was read before the view, so that no write of it would be noticed.
            whose += f" {_text_of(self._user, reasons.UNNAMED)}"
        try:
            return f"{whose}: {exact_text([named])}"
        except Unkeyable as error:
            raise TypeError(
                f"{function!r} names a page by {named!r}, which has no exact form: let it return a str, an int, or a "
                "tuple of such values, or None for a request that is not to be cached"
            ) from error

    def _name_attributes(self) -> str:
        """Return a text of what others have set on the user of the session. Raises PassedBy if it has none."""
        attributes = [_attributes_of(self._loaded_before()), _attributes_of(self._aloaded_before())]
        self._is_named_by_attributes = any(attributes)
        return _text_of(attributes, reasons.USER) if self._is_named_by_attributes else ""

    def _loaded_before(self) -> Any:
        """Return the user of the session, if somebody has loaded it; or None."""
        if self._kind_of_user != _OF_SESSION:
            return None
        user = vars(self._user)["_wrapped"]
        return None if user is empty else user

    def _aloaded_before(self) -> Any:
        return vars(self._request).get("_acached_user") if self._kind_of_user == _OF_SESSION else None

    def _is_of_others(self) -> bool:
        """Return whether others than Django have put a user on the request."""
        return self._kind_of_user in (_FOUND, _TO_BE_FOUND)

    def _load_messages(self) -> None:
        """Let the view read that there are no messages without reading the session. Raises PassedBy if there are."""
        messages = vars(self._request).get("_messages")
        if messages is not None:
            with self._without_trace():
                if len(messages):
                    raise PassedBy(reasons.MESSAGES)

    def _check_user(self) -> None:
        """Raises PassedBy for a user who is logged in, and not by the session."""
        if self._kind_of_user == _FOUND and not callable(self._per) and getattr(self._user, "is_authenticated", True):
            raise PassedBy(reasons.LOGGED_IN if self._per == ANONYMOUS else reasons.USER)

    # The block ---------------------------------------------------------------------------

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Let the block find the user anew, and note what it reads of the visitor."""
        session = self._session
        was_accessed = was_modified = False
        before = self._text_of_session()
        if session is not None:
            was_accessed, was_modified = session.accessed, session.modified
            session.accessed = session.modified = False
        self._loaded = self._aloaded = None
        self._attributes = _attributes_of(self._loaded_before())
        self._aattributes = _attributes_of(self._aloaded_before())
        try:
            with watched(session), replaced(self._request, self._replacements()):
                if self._given is self._request:
                    yield
                else:
                    # Django REST framework's, which has asked its authenticators already
                    with replaced(self._given, {"_user": MISSING, "_auth": MISSING, "_authenticator": MISSING}):
                        yield
        finally:
            accessed = session is not None and session.accessed
            self._read = _Reads(session=accessed, key=is_key_read(session), user=self._has_read_user)
            if session is not None:
                self._is_modified = session.modified or (accessed and not self._is_still(before))
                session.accessed = accessed or was_accessed
                session.modified = session.modified or was_modified
            self._hand_over_attributes()

    def _text_of_session(self) -> str | None:
        """Return the exact text of what is in the session; None: it has none, or nobody has loaded it."""
        try:
            return exact_text([vars(self._session)["_session_cache"]])
        except (Unkeyable, KeyError, TypeError):
            return None

    def _is_still(self, text: str | None) -> bool:
        """Return whether this is in the session. A list in it may be changed without a trace, and saved by others."""
        return text is not None and text == self._text_of_session()

    def _replacements(self) -> dict[str, Any]:
        """Return what is on the request in the block: no user that was loaded before it."""
        kind = self._kind_of_user
        if kind == _NONE or (kind == _ANONYMOUS and not callable(self._per)):
            return {}
        if kind != _OF_SESSION:
            return {"user": SimpleLazyObject(self._note_user)}
        return {
            "_cached_user": MISSING,
            "_acached_user": MISSING,
            "user": SimpleLazyObject(self._load_user),
            "auser": self._aload_user,
        }

    def _note_user(self) -> Any:
        self._has_read_user = True
        return self._user

    def _load_user(self) -> Any:
        self._has_read_user = True
        with self._without_trace():
            self._loaded = auth.get_user(self._request)
        vars(self._loaded).update(self._attributes)
        return self._loaded

    async def _aload_user(self) -> Any:
        self._has_read_user = True
        if self._aloaded is None:
            with self._without_trace():
                self._aloaded = await auth.aget_user(self._request)
            vars(self._aloaded).update(self._aattributes)
        return self._aloaded

    def _hand_over_attributes(self) -> None:
        """Let those who come after the block see what it has set on the user."""
        if self._loaded is not None:
            before = self._loaded_before()
            if before is None:
                vars(self._user)["_wrapped"] = self._loaded
            else:
                vars(before).update(_attributes_of(self._loaded))
        if self._aloaded is not None:
            before = vars(self._request).setdefault("_acached_user", self._aloaded)
            vars(before).update(_attributes_of(self._aloaded))

    @contextmanager
    def _without_trace(self) -> Iterator[None]:
        """Let what the block reads of the session not count as read by the view."""
        session = self._session
        accessed, key = session is not None and session.accessed, is_key_read(session)
        try:
            yield
        finally:
            if session is not None:
                session.accessed = accessed
                if not key:
                    forget_key_read(session)

    # Judging ------------------------------------------------------------------------------

    def rejection(self, content: bytes) -> str | None:
        """Return why a page that the block has made is not one for all visitors of this name; or None."""
        request = vars(self._request)
        kind_put = _NONE if self._user is not None else _kind_of(request.get("user"))  # of whom the block has put there
        if (self._session is None and "session" in request) or kind_put == _OF_SESSION:
            return reasons.LATE_MIDDLEWARE  # what it read of the visitor was not noted
        if kind_put not in (_NONE, _ANONYMOUS):  # the latter by Django REST framework, where nobody else does it
            return reasons.USER
        if self._is_modified or self._has_new_messages():
            return reasons.SESSION if self._is_modified else reasons.MESSAGES
        has_found_user = self._has_found_user()
        has_read_user = self._read.user or has_found_user
        if callable(self._per):
            named_by = self._read_for_name
            if self._read.session and not (named_by.session or named_by.key):
                return reasons.SESSION
            if has_read_user and not (named_by.user or named_by.session or named_by.key):
                return reasons.USER
            if self._read.user and self._is_of_others() and not named_by.user:
                return reasons.USER
        elif self._read.session and not self._is_blank and self._per != SESSION:
            return reasons.SESSION
        elif has_found_user or (self._read.user and self._is_of_others()):
            return reasons.USER
        key = None if self._session is None else self._session.session_key
        # Others with the same data have another key; others that a function names alike may have one.
        has_read_key = self._read.key and (key or callable(self._per))
        if (has_read_key or (key and key.encode() in content)) and not self._read_for_name.key:
            return reasons.SESSION
        return None

    def _has_found_user(self) -> bool:
        """Return whether the block has put a user on the request whom the session does not name.

        As authenticators of Django REST framework do. That a token expires is no write.
        """
        user = vars(self._request).get("user")
        if user is None or user is self._user:
            return False
        if issubclass(type(user), LazyObject):
            user = vars(user)["_wrapped"]
            if user is empty:
                return False
        is_of_session = self._user_id is not None and str(getattr(user, "pk", None)) == self._user_id
        return not is_of_session and bool(getattr(user, "is_authenticated", True))

    def _has_new_messages(self) -> bool:
        messages = vars(self._request).get("_messages")
        return messages is not None and (bool(len(messages)) or messages.added_new)

    @property
    def is_named_by_attributes(self) -> bool:
        """Whether the page's name has what middleware has set on the user, of which a proxy sees nothing."""
        return self._is_named_by_attributes

    @property
    def is_varied(self) -> bool:
        """Whether the page may be another one for another visitor."""
        return self._per != ANONYMOUS or any(self._read)

    @property
    def is_private(self) -> bool:
        """Whether a page is only for one visitor, or for some."""
        return self._per != ANONYMOUS


def _kind_of(user: Any) -> str:
    if user is None:
        return _NONE
    if type(user) is SimpleLazyObject and getattr(vars(user).get("_setupfunc"), "__module__", None) == _DJANGOS:
        return _OF_SESSION
    if _is_anonymous(user):
        return _FOUND if vars(user) else _ANONYMOUS
    return _TO_BE_FOUND if issubclass(type(user), LazyObject) else _FOUND


def _is_anonymous(user: Any) -> bool:
    """Return whether it is Django's AnonymousUser, whose class can be imported only where its app is installed."""
    cls = type(user)
    return cls.__module__ == "django.contrib.auth.models" and cls.__qualname__ == "AnonymousUser"


def _attributes_of(user: Any) -> dict[str, Any]:
    """Return what others have set on a user, which is not in the user's row. ``user``: None: there is none."""
    if user is None:
        return {}
    fields = {field.attname for field in user._meta.concrete_fields} if issubclass(type(user), Model) else set()
    return {
        name: value
        for name, value in vars(user).items()
        if name not in fields and name not in _FOUND_ANEW and not _is_cached_property(type(user), name)
    }


def _is_cached_property(cls: Any, name: str) -> bool:
    return isinstance(getattr(cls, name, None), (cached_property, functools.cached_property))


def _text_of(value: Any, reason: str) -> str:
    """Return the exact text of what middleware has found. Raises PassedBy for this reason if it has none."""
    try:
        return ExactForm().text(value)
    except Fault:
        raise PassedBy(reason) from None
