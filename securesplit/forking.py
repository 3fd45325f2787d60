"""What a process that was made by ``fork`` must not share with its parent: locks, open files, native objects.

Only the thread that forked continues in the child. Locks that other threads held stay locked there, threads inside
native libraries (XNNPACK's, ZeroMQ's) do not exist there, and SQLite forbids using or closing a connection that came
through a fork. So the child makes such things again when it first needs them (`PerProcess`), or refuses
(`MadeHere`). What it inherited is neither used nor freed: freeing an interpreter waits for its threads, freeing a
database writes to it.

Keys of sessions hear of forks, too, and are wiped in the child (`securesplit.channel.sealing`).
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Generic, NoReturn, SupportsIndex, TypeVar

from securesplit.errors import ConfigError

_T = TypeVar("_T")
_live: dict[int, weakref.ref[ForkAware]] = {}
"""By their ids; a weak set cannot be read while another thread makes one, and a fork whose things have not heard of it
would use the parent's."""


class ForkAware:
    """Hears of forks, as long as it lives."""

    def __init__(self) -> None:
        own_id, forget = id(self), _live.pop
        _live[own_id] = weakref.ref(self, lambda _: forget(own_id, None))

    def before(self) -> None:
        """In the process that is about to fork."""

    def after_in_parent(self) -> None:
        """In the same process after that."""

    def after_in_child(self) -> None:
        """In the fork, before anything else runs there."""


class OfOneProcess:
    """Has locks, sockets or native objects, of which there is no copy."""

    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn:
        """Say so to `pickle` and `copy`, which would name some lock deep inside."""
        kind = type(self).__name__
        raise ConfigError(
            f"{kind} objects cannot be copied, pickled or sent to another process",
            hint=f"make a {kind} in each process, by the initializer of a pool for example",
        )


class MadeHere(ForkAware):
    """Remembers which process made something.

    Args:
        what: it is, for the error.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.is_inherited = False
        super().__init__()

    def check(self) -> None:
        """Raise ConfigError where this process is a fork of the one that made it."""
        if self.is_inherited:
            raise ConfigError(
                f"this {self._what} was made before the process forked, and cannot be used after it",
                hint="make it in each process, after the fork (gunicorn: post_fork), or start processes by spawn",
            )

    def after_in_child(self) -> None:
        """Remember that."""
        self.is_inherited = True


class PerProcess(MadeHere, Generic[_T]):
    """Something that every process makes for itself: at once in this one, at first use in its forks.

    Args:
        make: makes it; called again in a fork.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._value = make()
        super().__init__(type(self).__name__)

    @property
    def value(self) -> _T:
        """This process's own; raises what `make` raises."""
        if self.is_inherited:
            with self._lock:
                if self.is_inherited:
                    self._value = self._make()
                    self.is_inherited = False
        return self._value

    def after_in_child(self) -> None:
        """Leave what the parent has, for good, and make another one when it is needed."""
        if not self.is_inherited:
            _never_free(self._value)
        self._lock = threading.Lock()
        super().after_in_child()


class ClosedAtFork(ForkAware, Generic[_T]):
    """Something that is closed before its process forks, and opened again by each side when it next needs it.

    Args:
        open_: opens it.
        close: closes it.

    Attributes:
        lock: to be held while `value` is used; a fork waits for it. A signal's handler in the thread that holds it may
            close, or fork, all the same: what it interrupted then fails.
    """

    def __init__(self, open_: Callable[[], _T], close: Callable[[_T], None]) -> None:
        self._open, self._close = open_, close
        self.lock = threading.RLock()
        self._value: _T | None = open_()
        self._is_over = False
        super().__init__()  # last, for a fork while it is being opened, or after it could not be, must not find it

    @property
    def value(self) -> _T:
        """The open one; raises what `open_` raises, and ConfigError after `end`."""
        if self._is_over:
            raise ConfigError("it was closed", hint="keep the client or ledger open until its last use")
        if self._value is None:
            self._value = self._open()
        return self._value

    def end(self) -> None:
        """Close it for good; in a fork, the parent's stays open."""
        with self.lock:
            self._is_over = True
            self._shut()

    def _shut(self) -> None:
        if self._value is not None:
            value, self._value = self._value, None
            self._close(value)

    def before(self) -> None:
        """Wait until it is not in use, and close it."""
        self.lock.acquire()
        self._shut()

    def after_in_parent(self) -> None:
        """Let others use it again."""
        self.lock.release()

    def after_in_child(self) -> None:
        """The same; what the parent has not closed before the fork is left to it, for good."""
        self.lock = threading.RLock()
        if self._value is not None:
            _never_free(self._value)
            self._value = None


def own_lock() -> PerProcess[threading.Lock]:
    """A lock that is free in every fork."""
    return PerProcess(threading.Lock)


def _never_free(value: object) -> None:
    """Keep what a fork has inherited: freeing it would touch what is the parent's."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


class _Forking(threading.local):
    """What the thread that forks has told of it; two threads may fork at once."""

    told: Sequence[ForkAware] = ()


_forking = _Forking()


def _alive() -> list[ForkAware]:
    """All that hear of forks; other threads may make some meanwhile."""
    return [found for kept in list(_live.values()) if (found := kept()) is not None]


def _before() -> None:
    _forking.told = sorted(_alive(), key=id)  # in one order, since two threads that fork may wait for each other
    for watched in _forking.told:
        watched.before()


def _after_in_parent() -> None:
    for watched in _forking.told:
        watched.after_in_parent()
    _forking.told = ()


def _after_in_child() -> None:
    for watched in _alive():
        watched.after_in_child()
    _forking.told = ()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
