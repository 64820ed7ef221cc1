"""Stage 3 of a sample's way, its controls: the same episode with something taken away or exchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from PIL import Image

from mllm.types import Episode, RawItem, Turn, images_of
from mllm.utils.image_io import original_size

Control = Literal['blank_supports', 'permute_labels'] | None


def apply_control(episode: Episode, control: Control) -> Episode:
    """The episode under a control; see `BankDataset`."""
    if control == 'blank_supports':
        return replace(episode, support=tuple(blanked(item) for item in episode.support))
    if control == 'permute_labels':
        labels = episode.meta.get('labels', [])
        unnamed = [entry['label'] for entry in episode.meta.get('support', []) if entry['label'] not in labels]
        if unnamed or not labels:
            raise ValueError(
                f"control='permute_labels': the supports of this episode do not name its classes ({unnamed[:1]}), so "
                "there are no names to exchange; use control='blank_supports' or another policy"
            )
        return relabelled(episode, dict(zip(labels, [*labels[1:], labels[0]], strict=True)))
    return episode


def blanked(item: RawItem) -> RawItem:
    """The item with white images of the same sizes."""
    white = [Image.new('RGB', original_size(image), 'white') for image in images_of(item)]
    if not white:
        return item
    return {**item, 'image': white if isinstance(item.get('image'), Sequence) else white[0]}


def relabelled(episode: Episode, new_labels: Mapping[str, str]) -> Episode:
    """The episode with every label replaced, in answers and meta; `meta['original_label']` is the query's old one."""

    def change(item: RawItem) -> RawItem:
        meta = item.get('meta') or {}
        *turns, answer = item.get('conversations', [])
        label, new = meta['label'], new_labels[meta['label']]
        if answer['value'] == label:
            value = new
        elif f'"{label}"' in answer['value']:
            value = answer['value'].replace(f'"{label}"', f'"{new}"')
        else:
            raise ValueError(
                f'the answer {answer["value"]!r} neither is its label nor quotes it ("{label}"); it cannot be permuted'
            )
        return {**item, 'conversations': [*turns, Turn({**answer, 'value': value})], 'meta': {**meta, 'label': new}}

    old = episode.meta['label']
    support = [{**entry, 'label': new_labels[entry['label']]} for entry in episode.meta['support']]
    return replace(
        episode,
        query=change(episode.query),
        support=tuple(map(change, episode.support)),
        earlier_queries=tuple(map(change, episode.earlier_queries)),
        meta={**episode.meta, 'label': new_labels[old], 'original_label': old, 'support': support},
    )
