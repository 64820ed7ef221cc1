"""Stages 2 and 3 of a sample's way for link-context learning: a bank and a policy -> numbered episodes.

Used for training (episodes drawn anew in every epoch) and evaluation (a function of the index alone) alike. The metric
is `mllm.metric.link_context`.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mllm.dataset.single_image_dataset.base import question_templates
from mllm.dataset.single_image_dataset.class_bank import Bank, ClassBank
from mllm.dataset.single_image_dataset.controls import Control, apply_control
from mllm.dataset.single_image_dataset.query_bank import GroupBank, IsekaiBank
from mllm.dataset.single_image_dataset.shots import Shot, draw_shot, shot_range
from mllm.dataset.source import ImageFile, Source
from mllm.registry import DATASETS, POLICIES, nearest
from mllm.types import IMAGE_PLACEHOLDER, Episode
from mllm.utils.faults import collect, stop_on
from mllm.utils.image_io import ImageError
from mllm.utils.rng import ItemRng

Policy = str | Mapping[str, Any]

RUNTIME = ('bank', 'index', 'shot', 'rng')
"""What a policy is called with, in this order; its other parameters come from the config."""
QUESTIONS = 'query_questions'
PUBLISHED_EVALUATION = 'policy_2way'
"""What published configs of both evaluations call the supports that the file fixes."""
EVALUATION = 'fixed_supports'


class BankDataset(Source):
    """Episodes that a policy draws from a bank: `episodes_per_class` rounds over its rows.

    policy    dict(type='link_context', ...): a name in POLICIES and its parameters; or the name alone
    shot      supports per class: a number, or a distribution as for `draw_shot`
    control   'blank_supports' shows white images in place of the supports; 'permute_labels' gives the supports of every
              class the label of another one and asks for the new label. Both keep everything else of the episode
    make_bank, make_questions   read the file, and what the query is asked by policies that do not fix it (one is drawn
              per query); what is wrong with them is told together with what is wrong with the other arguments
    """

    def __init__(
        self,
        make_bank: Callable[[], Bank],
        policy: Policy,
        shot: Shot,
        control: Control = None,
        episodes_per_class: int = 1,
        make_questions: Callable[[], Sequence[str] | None] = lambda: None,
    ) -> None:
        (_, self.highest_shot), questions, bank, _ = collect(
            functools.partial(shot_range, shot),
            make_questions,
            make_bank,
            functools.partial(check_settings, control, episodes_per_class),
        )
        self.bank: Bank = bank
        self.policy = build_policy(policy, bank, questions)
        self.shot = shot
        self.control: Control = control
        self.episodes_per_class = episodes_per_class

    def __len__(self) -> int:
        return len(self.bank) * self.episodes_per_class

    def episode(self, index: int, rng: ItemRng) -> Episode:
        episode = self.policy(self.bank, index % len(self.bank), draw_shot(self.shot, rng), rng)
        return apply_control(episode, self.control)

    def describe(self, index: int) -> str:
        return self.bank.where(index % len(self.bank))

    def problems(self) -> Iterator[str]:
        """Too few or missing images, and parameters that the policy refuses (found by drawing the first episode)."""
        found = False
        for problem in self.bank.problems(self.highest_shot):
            found = True
            yield problem
        if not found and len(self):
            try:
                self.episode(0, ItemRng(0, 0, 0))
            except ImageError:
                pass  # one bad sample, which a run may skip
            except ValueError as error:
                yield f'{self.describe(0)}: {error}'

    def images(self) -> Iterator[ImageFile]:
        return self.bank.images()

    def most_shots(self) -> int:
        return min(self.bank.most_shots(), default=0)


@DATASETS.register_module()
class LinkContextDataset(BankDataset):
    """Episodes from the classes of a pair file, see `ClassBank`, `policies.link_context` and `published_policies`.

    template_string / template_file   the query's question, or a JSON list of paraphrases, each with <image> once; not
                                      used by policies that fix the question (`policy_2way_ref`, `policy_jigsaw`)
    max_dynamic_size                  use only the first so many templates
    """

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        *,
        policy: Policy,
        shot: Shot,
        template_string: str | None = None,
        template_file: str | None = None,
        max_dynamic_size: int | None = None,
        distinct_groups: bool = False,
        episodes_per_class: int = 1,
        control: Control = None,
    ) -> None:
        def make_questions() -> Sequence[str] | None:
            if template_string is not None and template_file is not None:
                raise ValueError(f'{type(self).__name__}: give either template_string or template_file')
            if template_string is None and template_file is None:
                return None
            return question_templates(template_string, template_file, max_dynamic_size, [IMAGE_PLACEHOLDER])

        make_bank = functools.partial(ClassBank, filename, image_folder, distinct_groups)
        super().__init__(make_bank, policy, shot, control, episodes_per_class, make_questions)


# The published name, for training on the ImageNet-900 pair file.
ImageNet1kDatasetTrain = DATASETS.register_module('ImageNet1kDatasetTrain')(LinkContextDataset)


class EvaluationDataset(BankDataset):
    """Questions whose supports the file fixes, with one fixed question text: every query of a bank once.

    policy   by default `fixed_supports`, which published configs call 'policy_2way'; dict(type='fixed_supports', ...)
             changes its parameters, `query_questions` among them
    template_string / template_file   stand in published configs, where they have no effect either
    """

    def __init__(
        self,
        make_bank: Callable[[], Bank],
        policy: Policy | None,
        shot: Shot,
        control: Control,
        template_string: str | None,
        template_file: str | None,
    ) -> None:
        del template_string, template_file
        cfg = {'type': policy or EVALUATION} if policy is None or isinstance(policy, str) else dict(policy)
        if cfg.get('type') == PUBLISHED_EVALUATION:
            cfg['type'] = EVALUATION
        super().__init__(make_bank, cfg, shot, control)


@DATASETS.register_module()
class ISEKAIEval2Way(EvaluationDataset):
    """The queries of an ISEKAI file or folder with their fixed supports, see `IsekaiBank`; labels as in the file.

    pairs   for a folder of classes: [['positive', 'negative'], ...] by name, see `isekai_folder`
    """

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        *,
        shot: Shot,
        policy: Policy | None = None,
        template_string: str | None = None,
        template_file: str | None = None,
        pairs: Sequence[Sequence[str]] | None = None,
        control: Control = None,
    ) -> None:
        make_bank = functools.partial(IsekaiBank, filename, image_folder, pairs)
        super().__init__(make_bank, policy, shot, control, template_string, template_file)


@DATASETS.register_module()
class ImageNetTest100Eval2Way(EvaluationDataset):
    """Every test sample of an ImageNet-100 file, or the first `sample_per_class` of each class, see `GroupBank`.

    The supports are the first `shot` context samples of the query's class and of its contrast classes: the other row
    of a pair of consecutive rows, or with more `ways` the others of so many. Labels are real lower-cased names.
    """

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        *,
        shot: Shot,
        policy: Policy | None = None,
        sample_per_class: int = 0,
        ways: int = 2,
        template_string: str | None = None,
        template_file: str | None = None,
        control: Control = None,
    ) -> None:
        make_bank = functools.partial(GroupBank, filename, image_folder, ways, sample_per_class)
        super().__init__(make_bank, policy, shot, control, template_string, template_file)


def check_settings(control: object, episodes_per_class: int) -> None:
    """FaultsError unless they are as for `BankDataset`."""
    faults = []
    if control not in (None, 'blank_supports', 'permute_labels'):
        faults.append(f"control={control!r}: expected None, 'blank_supports' or 'permute_labels'")
    if episodes_per_class < 1:
        faults.append(f'episodes_per_class={episodes_per_class}: expected at least 1')
    stop_on(faults)


def build_policy(
    cfg: Policy, bank: Bank, questions: Sequence[str] | None = None
) -> Callable[[Any, int, int, ItemRng], Episode]:
    """The policy named by `cfg`, or by its 'type' with parameters; `questions` where it asks what it is told to.

    ValueError for a name or parameter that there is not, and for a policy that draws from another kind of bank.
    """
    if isinstance(cfg, str):
        cfg = {'type': cfg}
    if not isinstance(cfg, Mapping) or 'type' not in cfg:
        raise ValueError(f"policy={cfg!r}: expected a name or dict(type='...'){nearest('', POLICIES.names())}")
    name = cfg['type']
    function = POLICIES.get(name)
    parameters = {key: value for key, value in cfg.items() if key != 'type'}
    signature = inspect.signature(function).parameters
    known = list(signature)[len(RUNTIME) :]
    unknown = [key for key in parameters if key not in known]
    if unknown and not any(item.kind is item.VAR_KEYWORD for item in signature.values()):
        hints = '; '.join(f'no parameter {key!r}{nearest(key, known)}' for key in unknown)
        raise ValueError(f'policy {name!r} has {hints}')
    if not draws_from(function, bank):
        fitting = [other for other in POLICIES.names() if draws_from(POLICIES.get(other), bank)]
        kind, names = type(bank).__name__, ', '.join(fitting)
        raise ValueError(f'policy {name!r} cannot draw from this kind of data ({kind}); there are: {names}')
    if questions is not None and QUESTIONS in known:
        if QUESTIONS in parameters:
            raise ValueError(f'policy {name!r} has {QUESTIONS}, and the dataset has templates; give one of them')
        parameters[QUESTIONS] = questions
    return functools.partial(function, **parameters)


def draws_from(policy: Callable[..., Episode], bank: Bank) -> bool:
    """Whether the type of a policy's first parameter, if it has one, is that of the bank."""
    first = next(iter(inspect.signature(policy).parameters), '')
    try:
        wanted = typing.get_type_hints(policy).get(first)
    except NameError:  # names that exist for type checkers only
        return True
    return not isinstance(wanted, type) or isinstance(bank, wanted)
