"""What arguments a registered class or function takes, and whether a config's value fits one; before stage 1."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

UNIONS = (Union, types.UnionType)
CONTAINERS = {dict: 'dict', Mapping: 'dict', list: 'list', tuple: 'list', Sequence: 'list'}


@dataclass(frozen=True)
class Arguments:
    """Types by name, the names that must be given, and whether any other name is taken too."""

    hints: dict[str, Any]
    required: tuple[str, ...]
    open: bool = False


def arguments_of(entry: Callable[..., Any], skip: int = 0) -> Arguments:
    """The keyword arguments of a class or function, without the first `skip` of a function (given by its caller).

    A class whose `__init__` takes **kwargs hands them to the next class of its MRO, so it takes that one's too;
    an argument that a subclass supplies itself must therefore stand in its own signature, with a default.
    """
    hints: dict[str, Any] = {}
    required: list[str] = []
    passes_on = False
    # Its fields may be inherited from a class of another module, whose names their types are written with.
    own: dict[str, Any] = typing.get_type_hints(entry) if isinstance(entry, type) and is_dataclass(entry) else {}
    for function in initialisers(entry):
        parameters = list(inspect.signature(function).parameters.values())[1 if isinstance(entry, type) else skip :]
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in hints:
                continue
            hints[parameter.name] = own.get(parameter.name) or resolve_hint(parameter.annotation, function)
            if parameter.default is parameter.empty:
                required.append(parameter.name)
        passes_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        if not passes_on:
            break
    return Arguments(hints, tuple(required), passes_on)


def initialisers(entry: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """The functions a call of `entry` runs through, in order."""
    if not isinstance(entry, type):
        yield entry
        return
    for cls in entry.__mro__[:-1]:
        if '__init__' in cls.__dict__:
            yield cls.__dict__['__init__']


def resolve_hint(annotation: Any, function: Callable[..., Any]) -> Any:
    """The type an annotation stands for; Any where there is none, or where its names exist for type checkers only."""
    if annotation is inspect.Parameter.empty:
        return Any
    if not isinstance(annotation, str):
        return annotation
    owner = types.SimpleNamespace(__annotations__={'value': annotation})
    try:
        return typing.get_type_hints(owner, inspect.unwrap(function).__globals__)['value']
    except (NameError, AttributeError, TypeError):
        return Any


def keys_of(value: Mapping[str, Any], hint: Any) -> Arguments | None:
    """The keys that a dict may have where the type names them: a TypedDict, or a Mapping whose keys are a Literal.

    Of several TypedDicts it is the one whose `type` has the value's, or the first. None if any key may stand there.
    """
    members = [member for member in (get_args(hint) if get_origin(hint) in UNIONS else (hint,))]
    typed = [member for member in members if typing.is_typeddict(member)]
    if typed:
        hints = [typing.get_type_hints(member) for member in typed]
        of_type = [n for n, names in enumerate(hints) if 'type' in names and fits(value.get('type'), names['type'])]
        chosen = of_type[0] if of_type else 0
        return Arguments(hints[chosen], tuple(sorted(typed[chosen].__required_keys__)))
    for member in members:
        args = get_args(member)
        if get_origin(member) in (dict, Mapping) and args and choices(args[0]):
            return Arguments(dict.fromkeys(choices(args[0]), args[1]), ())
    return None


def fits(value: Any, hint: Any) -> bool:
    """Whether plain data may stand for an argument of this type; types that plain data cannot be always fit."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in UNIONS:
        enums = [arg for arg in args if isinstance(arg, type) and issubclass(arg, Enum)]
        # `Kind | str` means the name of a kind, not any text.
        return any(fits(value, arg) for arg in args if not (enums and arg is str))
    if origin is Literal:
        return value in args
    if hint is None or hint is type(None):
        return value is None
    if isinstance(hint, type) and issubclass(hint, Enum):
        return value in [member.value for member in hint]
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    if typing.is_typeddict(hint):
        return isinstance(value, dict)
    return fits_container(value, origin or hint, args)


def fits_container(value: Any, kind: Any, args: Sequence[Any]) -> bool:
    if kind is dict or kind is Mapping:
        return isinstance(value, dict) and (not args or all(fits(item, args[1]) for item in value.values()))
    if kind is tuple and args and args[-1] is not Ellipsis:
        sequence = isinstance(value, (list, tuple)) and len(value) == len(args)
        return sequence and all(fits(item, arg) for item, arg in zip(value, args, strict=True))
    if kind in (list, tuple, Sequence):
        return isinstance(value, (list, tuple)) and (not args or all(fits(item, args[0]) for item in value))
    return True


def choices(hint: Any) -> list[str]:
    """The words a Literal or Enum in `hint` allows."""
    if get_origin(hint) is Literal:
        return [arg for arg in get_args(hint) if isinstance(arg, str)]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return [str(member.value) for member in hint]
    return [word for arg in get_args(hint) for word in choices(arg)] if get_origin(hint) in UNIONS else []


def describe(hint: Any) -> str:
    """A type in words, for a message."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in UNIONS:
        return ' or '.join(dict.fromkeys(describe(arg) for arg in args if not (choices(hint) and arg is str)))
    words = choices(hint)
    if words:
        return ' or '.join(map(repr, words))
    if hint is None or hint is type(None):
        return 'None'
    if typing.is_typeddict(hint):
        return 'dict'
    kind = CONTAINERS.get(origin or hint)
    if kind:
        return f'{kind} of {describe(args[-1] if kind == "dict" else args[0])}' if args and Any not in args else kind
    return hint.__name__ if isinstance(hint, type) else str(hint)
