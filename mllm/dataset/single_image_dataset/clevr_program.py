"""Stage 2 of a sample's way for CLEVR: executing the program of a question on the scene it was asked about.

The functions are those of the CLEVR generator (Johnson et al., CLEVR, 2017). Released files name a step's function by
`function`, the generator's own by `type`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

ATTRIBUTES = ('color', 'size', 'shape', 'material')
Objects = list[int]
"""Numbers of objects of the scene, ascending."""


def function_of(step: Mapping[str, Any]) -> str:
    """The name of a step's function."""
    name = step.get('function', step.get('type'))
    if not isinstance(name, str):
        raise ValueError(f'a step of the program has neither function nor type: {dict(step)}')
    return name


def can_run(scene: Mapping[str, Any]) -> bool:
    """Whether the objects of a scene have the attributes that programs ask for."""
    return all(attribute in entry for entry in scene['objects'] for attribute in ATTRIBUTES)


def run_program(program: Sequence[Mapping[str, Any]], scene: Mapping[str, Any]) -> list[Any]:
    """What each step gives: numbers of objects, one number (unique), a text, a count, or a truth.

    ValueError for unknown functions, inputs that are not there, or `unique` of other than one object.
    """
    outputs: list[Any] = []
    for number, step in enumerate(program):
        name, inputs, values = function_of(step), step.get('inputs', []), step.get('value_inputs', [])
        if name not in FUNCTIONS and name.split('_')[0] not in PREFIXES:
            raise ValueError(f'step {number} of the program: there is no function {name!r}')
        if any(not 0 <= place < number for place in inputs):
            raise ValueError(f'step {number} of the program takes {inputs}; only steps before it have given something')
        try:
            outputs.append(run_step(name, [outputs[place] for place in inputs], values, scene))
        except (IndexError, KeyError, TypeError) as error:
            raise ValueError(f'step {number} of the program, {name}: {type(error).__name__} {error}') from error
    return outputs


def run_step(name: str, given: list[Any], values: Sequence[str], scene: Mapping[str, Any]) -> Any:
    objects = scene['objects']
    if name in FUNCTIONS:
        return FUNCTIONS[name](given, values, scene)
    kind, attribute = name.split('_', 1)
    if attribute not in ATTRIBUTES:
        raise ValueError(f'{name}: objects have no {attribute!r}')
    if kind == 'filter':
        return [number for number in given[0] if objects[number][attribute] == values[0]]
    if kind == 'query':
        return objects[given[0]][attribute]
    if kind == 'equal':
        return given[0] == given[1]
    return [n for n, entry in enumerate(objects) if n != given[0] and entry[attribute] == objects[given[0]][attribute]]


def unique(given: list[Any], values: Sequence[str], scene: Mapping[str, Any]) -> int:
    if len(given[0]) != 1:
        raise ValueError(f'unique of {len(given[0])} objects')
    return given[0][0]


PREFIXES = ('filter', 'query', 'same', 'equal')
FUNCTIONS: dict[str, Callable[[list[Any], Sequence[str], Mapping[str, Any]], Any]] = {
    'scene': lambda given, values, scene: list(range(len(scene['objects']))),
    'unique': unique,
    'relate': lambda given, values, scene: sorted(scene['relationships'][values[0]][given[0]]),
    'union': lambda given, values, scene: sorted(set(given[0]) | set(given[1])),
    'intersect': lambda given, values, scene: sorted(set(given[0]) & set(given[1])),
    'count': lambda given, values, scene: len(given[0]),
    'exist': lambda given, values, scene: bool(given[0]),
    'equal_integer': lambda given, values, scene: given[0] == given[1],
    'less_than': lambda given, values, scene: given[0] < given[1],
    'greater_than': lambda given, values, scene: given[0] > given[1],
}


def answer_text(value: Any) -> str:
    """An output as the answers of the files are written."""
    return {True: 'yes', False: 'no'}[value] if isinstance(value, bool) else str(value)


def checked_outputs(program: Sequence[Mapping[str, Any]], scene: Mapping[str, Any], answer: str) -> list[Any]:
    """The outputs of a program; ValueError if the last is not the answer.

    Where the scene has no attributes to run it on, the recorded outputs (`ans` or `_output`) of the steps.
    """
    if not can_run(scene):
        missing = [number for number, step in enumerate(program) if 'ans' not in step and '_output' not in step]
        if missing:
            raise ValueError(f'the scene has no attributes, and step {missing[0]} of the program no recorded output')
        return [step.get('ans', step.get('_output')) for step in program]
    outputs = run_program(program, scene)
    if outputs and answer_text(outputs[-1]) != str(answer):
        raise ValueError(f'the program gives {answer_text(outputs[-1])!r} on this scene, and the answer is {answer!r}')
    return outputs
