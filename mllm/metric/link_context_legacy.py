"""Stage 11 of a sample's way for link-context learning: the released substring rule, for comparison with the paper.

    right   the label stands somewhere in the answer, and the contrast label not in what is left without it

As in LCLComputeMetrics, ISEKAIMetrics and ImageNetTest100Metrics of the Link-Context-Learning release. The answer is
taken as generated: upper case, or dots within a name, miss the label; "catfish" counts as "cat" even where catfish is
the contrast; a contrast label "a" is found in "image". `LinkContextAccuracy` reports it beside its own accuracy and
never in place of it. The release left end marks and padding in the answer; ours has none.
"""

from __future__ import annotations

from collections.abc import Sequence

REMOVED = ('The answer is', 'there is', 'in the image', '"', "'", '.')
"""What the release deletes from the target, one after the other, to find the label."""


def legacy_label(text: str) -> str:
    """The label as the release looks for it: of a label, or of the answer sentence with the label."""
    for part in REMOVED:
        text = text.replace(part, '')
    return text.strip().lower()


def legacy_contrasts(label: str, labels: Sequence[str]) -> list[str]:
    """The names that must not stand in the answer; `labels` are all of the episode, in its order.

    Of two labels it is the last that differs from the cleaned label: the other one, except that a second label with
    a dot, quote or apostrophe differs from its own cleaned form, and is then its own contrast (so does the release).
    The release knows two classes only; with any other number, every other label is a contrast.
    """
    names = [name.lower() for name in labels]
    if len(names) != 2:
        return [name for name in names if name != label.lower()]
    differing = [name for name in names if name != legacy_label(label)]
    return (differing or names)[-1:]


def legacy_correct(pred: str, label: str, contrasts: Sequence[str]) -> bool:
    """The released verdict on one answer, with the contrasts of `legacy_contrasts`."""
    name = legacy_label(label)
    rest = pred.replace(name, '')
    return name in pred and not any(contrast in rest for contrast in contrasts)
