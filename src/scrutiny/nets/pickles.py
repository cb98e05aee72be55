"""The one reader of pickles: it knows plain data and a few stand-ins of ours, so there is nothing in it that a pickle could run.

A pickle is a program for a small machine. Two things make it dangerous: it may name any function and call it, and a few bytes may ask for
any amount of memory. Here names are looked up in a table and nowhere else, what they stand for is written in this package, and
what they make is counted.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .untrusted import SCALARS

LARGEST = 32 << 20
"""Bytes of a pickle or JSON file; the largest official dictionary has 6 million. Memory stays below a hundred times this."""
MOST_MADE = 64 << 20
"""Bytes that the stand-ins of one pickle may make."""
DAMAGED = (
    *(pickle.UnpicklingError, EOFError, struct.error, RecursionError),
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError),
)
"""What a pickle machine raises when it is fed nonsense."""

OPCODES = (
    "PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT "
    "PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL BINPERSID"
).split()
"""What plain data need, beside the few that are replaced below."""


class Refused(pickle.UnpicklingError):
    """The pickle wants what no file of weights or names needs."""


@dataclass(frozen=True)
class StandIn:
    """What a name in a pickle stands for: a function of ours that takes the arguments of the original."""

    make: Callable[..., Any]


class Attributes(dict[str, Any]):
    """Stand-in for an object that is no more than its attributes, such as `argparse.Namespace`."""

    def set_state(self, state: dict[str, Any]) -> None:
        self.update(dict.items(state))


class NumpyType:
    """Stand-in for `numpy.dtype`: booleans, numbers and short strings."""

    def __init__(self, code: str, *_: Any) -> None:
        if not re.fullmatch(r"b1|[iu][1248]|f[248]|U[1-9]\d?", code):
            raise Refused(f"it holds a numpy value of type {code[:20]!r}; expected a number or a short string")
        self.code, self.order = code, "<"

    def set_state(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"


def numpy_scalar(kind: NumpyType, data: bytes) -> bool | int | float | str:
    """Stand-in for `numpy.core.multiarray.scalar`: the value as one of Python's own."""
    (value,) = np.frombuffer(data, dtype=np.dtype(kind.order + kind.code)).tolist()
    return value


def latin1_bytes(text: str, encoding: str) -> bytes:
    """Stand-in for `_codecs.encode`, by which old pickles spell bytes."""
    if encoding != "latin1":
        raise Refused(f"it encodes text as {encoding[:20]!r}")
    return text.encode("latin1")


NAMES: Mapping[str, Any] = {
    "numpy.dtype": StandIn(NumpyType),
    "numpy.core.multiarray.scalar": StandIn(numpy_scalar),
    "numpy._core.multiarray.scalar": StandIn(numpy_scalar),
    "_codecs.encode": StandIn(latin1_bytes),
    "collections.OrderedDict": StandIn(lambda: {}),
}
"""What a pickle of plain data may name."""


class _Known(dict[int, Callable[..., None]]):
    """What is done for each instruction of a pickle that is known here."""

    def __missing__(self, opcode: int) -> Callable[..., None]:
        raise Refused(f"it has the instruction {bytes([opcode])!r}, which plain data do not need; nothing was run")


class PlainUnpickler(pickle._Unpickler):  # the one in Python: the one in C takes memory on a pickle's word
    """Unpickles plain data and what ``names`` stand for. Raises `Refused` for all other names, `DAMAGED` for nonsense."""

    dispatch = _Known({ord(op): pickle._Unpickler.dispatch[ord(op)] for op in (getattr(pickle, name) for name in OPCODES)})

    def __init__(self, file: io.BytesIO, names: Mapping[str, Any] = NAMES) -> None:
        super().__init__(file)
        self._names = names
        self._made = 0

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._names[f"{module}.{name}"]
        except KeyError:
            raise Refused(f"it wants to run or build {f'{module}.{name}'[:200]!r}; nothing was run") from None

    def _call(self) -> None:
        arguments = self.stack.pop()
        stand_in = self.stack.pop()
        if type(stand_in) is not StandIn or type(arguments) is not tuple:
            raise Refused(f"it calls a {type(stand_in).__name__}; nothing was run")
        result = stand_in.make(*arguments)
        self._made += sys.getsizeof(result)
        if self._made > MOST_MADE:
            raise Refused("it makes far more values than it is long")
        self.append(result)

    def _set_state(self) -> None:
        state, one = self.stack.pop(), self.stack[-1]
        if isinstance(one, NumpyType | Attributes):
            one.set_state(state)
        elif not isinstance(one, dict):  # attributes of a dictionary, such as the _metadata of a state_dict, hold no weights
            raise Refused(f"it sets the state of a {type(one).__name__}")

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._fill(items)

    def _set_item(self) -> None:
        self._fill([self.stack.pop(-2), self.stack.pop()])

    def _set_items(self) -> None:
        self._fill(self.pop_mark())

    def _fill(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise Refused(f"it fills a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, SCALARS):  # the hash of a tuple of tuples of tuples may take for ever
                raise Refused(f"it has a {type(key).__name__} as key; expected text or numbers")
            target[key] = value

    dispatch[pickle.DICT[0]] = _dict
    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items
    dispatch[pickle.REDUCE[0]] = _call
    dispatch[pickle.NEWOBJ[0]] = _call
    dispatch[pickle.BUILD[0]] = _set_state
