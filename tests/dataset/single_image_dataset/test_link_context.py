import pickle
from collections import Counter
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from mllm.dataset.single_image_dataset.link_context import (
    ImageNetTest100Eval2Way,
    ISEKAIEval2Way,
    LinkContextDataset,
)
from mllm.dataset.single_image_dataset.shots import draw_shot, shot_range
from mllm.registry import DATASETS, POLICIES
from mllm.utils.rng import ItemRng

EMOJI = Path(__file__).parents[3] / 'data' / 'emoji'
POLICY = {'type': 'link_context', 'names': 'invented', 'negatives': 0.5}


@pytest.fixture
def make(world):
    def build(**kwargs):
        arguments = {'policy': POLICY, 'shot': 2, 'distinct_groups': True, **kwargs}
        return LinkContextDataset(world.filename, world.folder, **arguments)

    return build


def signature(episode):
    items = [(item['conversations'], item['image'].tobytes(), item['meta']) for item in episode.items]
    return repr((items, episode.meta))


class Signatures(Dataset):
    """Episodes of a source as a loader's workers see them."""

    def __init__(self, source, seed, epoch):
        self.source, self.seed, self.epoch = source, seed, epoch

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        return signature(self.source.episode(index, ItemRng(self.seed, self.epoch, index)))


def test_length_and_classes(make):
    source = make(episodes_per_class=3)
    assert len(source) == 21
    episodes = [source.episode(index, ItemRng(0, 0, index)) for index in range(21)]
    assert all(source.bank[index % 7].title in episode.meta['classes'] for index, episode in enumerate(episodes))
    assert len({signature(episode) for episode in episodes}) == 21


def test_workers_neither_share_nor_change_the_randomness(make):
    source = make(episodes_per_class=2, shot={'type': 'uniform', 'low': 1, 'high': 4})
    alone, workers = (
        [text for batch in DataLoader(Signatures(source, 1, 0), 2, num_workers=n, collate_fn=list) for text in batch]
        for n in (0, 2)
    )
    assert alone == workers
    assert len(set(alone)) == len(alone)
    backwards = [Signatures(source, 1, 0)[index] for index in reversed(range(len(source)))]
    assert backwards[::-1] == alone
    assert not set(alone) & {Signatures(source, 1, 1)[index] for index in range(len(source))}


def test_a_copy_of_the_dataset_draws_the_same(make):
    source = make()
    copy = pickle.loads(pickle.dumps(source))
    assert signature(copy.episode(3, ItemRng(0, 0, 3))) == signature(source.episode(3, ItemRng(0, 0, 3)))


def test_meta_is_what_the_metric_needs(make, world):
    episode = make(shot=3).episode(2, ItemRng(0, 0, 2))
    meta = episode.meta
    assert meta['candidates'] == [f'there is "{label}" in the image.' for label in meta['labels']]
    assert episode.query['conversations'][-1]['value'] == meta['candidates'][meta['labels'].index(meta['label'])]
    assert meta['classes'][meta['labels'].index(meta['label'])] == meta['class']
    assert meta['image_path'] == episode.query['meta']['image_path']
    assert meta['support'] == [item['meta'] for item in episode.support]
    assert meta['shot'] == 3
    assert meta['names'] == 'invented'


@pytest.mark.parametrize('kind', ['pairs', 'isekai'])
def test_blank_supports_changes_the_support_images_alone(make, world, kind):
    def build(control):
        if kind == 'pairs':
            return make(control=control)
        return ISEKAIEval2Way(world.isekai, world.folder, shot=2, control=control)

    plain, blank = (build(control).episode(1, ItemRng(0, 0, 1)) for control in (None, 'blank_supports'))
    assert len(blank.support) == 4
    for item, other in zip(plain.support, blank.support, strict=True):
        assert other['image'].getcolors() == [(24, (255, 255, 255))]
        assert other['image'].size == item['image'].size
        assert item['image'].getpixel((0, 0)) != (255, 255, 255)
        assert other['conversations'] == item['conversations']
    assert blank.query['image'].tobytes() == plain.query['image'].tobytes()
    assert blank.meta == plain.meta


@pytest.mark.parametrize('texts', [None, {'support_answer': '<label>', 'answer': '<label>'}])
@pytest.mark.parametrize('ways', [2, 3])
def test_permuted_labels_are_those_of_the_same_episode_and_the_target_follows(make, world, ways, texts):
    policy = {**POLICY, 'ways': ways, 'queries': 3, 'texts': texts}
    plain, permuted = (
        make(policy=policy, control=control).episode(1, ItemRng(0, 0, 1)) for control in (None, 'permute_labels')
    )
    new = {item['meta']['label']: other['meta']['label'] for item, other in zip(plain.support, permuted.support)}
    assert set(new) == set(new.values()) == set(plain.meta['labels'])
    assert all(label != other for label, other in new.items())
    for item, other in zip(plain.items, permuted.items, strict=True):
        assert other['image'].tobytes() == item['image'].tobytes()
        assert other['meta']['label'] == new[item['meta']['label']]
        answers = [i['conversations'][1]['value'] for i in (item, other)]
        assert answers[1] == answers[0].replace(item['meta']['label'], other['meta']['label'])
    assert permuted.meta['original_label'] == plain.meta['label']
    assert permuted.meta['label'] == new[plain.meta['label']]
    assert permuted.meta['support'] == [item['meta'] for item in permuted.support]
    unchanged = ('labels', 'candidates', 'support_key', 'image_path', 'class')
    assert [permuted.meta[key] for key in unchanged] == [plain.meta[key] for key in unchanged]


def test_an_answer_that_hides_its_label_cannot_be_permuted(make):
    policy = {**POLICY, 'texts': {'answer': 'so <label>'}}
    with pytest.raises(ValueError, match='neither is its label nor quotes it'):
        make(policy=policy, control='permute_labels').episode(0, ItemRng(0, 0, 0))


def test_isekai_permuted(world):
    source = ISEKAIEval2Way(world.isekai, world.folder, shot=1, control='permute_labels')
    episode = source.episode(0, ItemRng(0))
    assert (episode.meta['label'], episode.meta['original_label']) == ('Plain 1', 'zorp0')


def test_draw_shot():
    assert {draw_shot(3, ItemRng(0, 0, index)) for index in range(5)} == {3}
    uniform = Counter(draw_shot({'type': 'uniform', 'low': 2, 'high': 5}, ItemRng(0, 0, i)) for i in range(400))
    assert set(uniform) == {2, 3, 4, 5}
    assert all(70 < count < 130 for count in uniform.values())
    weighted = {'type': 'weighted', 'low': 1, 'high': 3, 'rate': 1.0}
    drawn = Counter(draw_shot(weighted, ItemRng(0, 0, i)) for i in range(1000))
    # e : e^2 : e^3 = .09 : .24 : .67
    assert 60 < drawn[1] < 130 < 200 < drawn[2] < 290 < 620 < drawn[3] < 720
    assert draw_shot({**weighted, 'high': 2000, 'rate': 5}, ItemRng(0)) > 1900


def test_a_policy_by_its_name_alone(make):
    named, spelt = (make(policy=policy) for policy in ('policy_2way', {'type': 'policy_2way'}))
    assert [signature(source.episode(1, ItemRng(0, 0, 1))) for source in (named, spelt)] == [
        signature(POLICIES.get('policy_2way')(named.bank, 1, 2, ItemRng(0, 0, 1)))
    ] * 2
    with pytest.raises(ValueError, match="no 'policy_2wya'; did you mean 'policy_2way'"):
        make(policy='policy_2wya')


def test_templates_are_the_query_s_questions(make, tmp_path):
    path = tmp_path / 'templates.json'
    path.write_text('["first <image>?", "second <image>?", "third <image>?"]')
    source = make(policy='policy_2way', template_file=str(path), max_dynamic_size=2, episodes_per_class=4)
    asked = {item['conversations'][0]['value'] for item in source}
    assert asked == {'first <image>?', 'second <image>?'}
    assert {item['conversations'][0]['value'] for item in make(template_string='What? <image>')} == {'What? <image>'}
    # A policy with a question of its own keeps it.
    assert make(policy='policy_jigsaw', template_string='What? <image>')[0]['conversations'][0]['value'][:5] == 'Using'


def test_templates_must_be_sound_and_given_once(make, tmp_path):
    with pytest.raises(ValueError, match=r"template_string: 'What\?' has <image> 0 times, needed once"):
        make(template_string='What?')
    with pytest.raises(FileNotFoundError, match='template_file nowhere'):
        make(template_file='nowhere.json')
    with pytest.raises(ValueError, match='either template_string or template_file'):
        make(template_string='<image>', template_file='a.json')
    with pytest.raises(ValueError, match="'link_context' has query_questions, and the dataset has templates"):
        make(policy={**POLICY, 'query_questions': ['<image>']}, template_string='<image>')


def test_a_policy_must_draw_from_the_bank_there_is(make, world):
    with pytest.raises(ValueError, match=r"'fixed_supports' cannot draw from.*ClassBank\); there are:.*policy_2way,"):
        make(policy='fixed_supports')
    with pytest.raises(ValueError, match=r"'link_context' cannot draw from.*IsekaiBank\); there are: fixed_supports$"):
        ISEKAIEval2Way(world.isekai, world.folder, shot=1, policy='link_context')


@pytest.mark.parametrize('policy', [None, 'policy_2way', {'type': 'policy_2way'}, {'type': 'fixed_supports'}])
def test_evaluations_call_their_supports_as_published_or_as_here(world, policy):
    source = ISEKAIEval2Way(world.isekai, world.folder, shot=2, policy=policy, template_file='no/such/file.json')
    question = source[1]['conversations'][0]['value']
    assert question == 'Based on the previous examples, what is in the image <image>?'
    expected = ISEKAIEval2Way(world.isekai, world.folder, shot=2).episode(1, ItemRng(0, 0, 1))
    assert signature(source.episode(1, ItemRng(0, 0, 1))) == signature(expected)


@pytest.fixture
def hundred(world, tmp_path):
    path = tmp_path / 'hundred.jsonl'
    world.write(path, [world.hundred_row(number) for number in range(4)])
    return str(path)


def test_imagenet_100(world, hundred):
    source = DATASETS.build(
        {'type': 'ImageNetTest100Eval2Way', 'filename': hundred, 'image_folder': world.folder, 'shot': 3,
         'policy': 'policy_2way', 'sample_per_class': 2}
    )  # fmt: skip
    assert list(source.problems()) == []
    assert len(source) == 8
    for index in range(8):
        episode = source.episode(index, ItemRng(0, 0, index))
        position, other = index // 2, index // 2 ^ 1
        assert [world.class_of(episode.query), episode.meta['class']] == [position, source.bank.stock[position].title]
        assert episode.meta['label'] == world.row(position)['class_name'].lower().replace('_', ' ')
        shown = {(item['meta']['image_path'], item['meta']['label']) for item in episode.support}
        assert shown == {
            (path, world.row(number)['class_name'].lower().replace('_', ' '))
            for number in (position, other)
            for path in world.hundred_row(number)['context_samples'][:3]
        }
    # All queries of a pair see one support set in one order.
    keys = [source.episode(index, ItemRng(0, 0, index)).meta['support'] for index in range(4)]
    assert all(key == keys[0] for key in keys)
    assert source.describe(7) == f'{hundred}:4'


def test_imagenet_100_with_more_ways_and_shots(world, hundred):
    source = ImageNetTest100Eval2Way(hundred, world.folder, shot=4, ways=4)
    assert list(source.problems()) == []
    episode = source.episode(5, ItemRng(0, 0, 5))
    assert len(episode.support) == 16
    assert episode.meta['labels'] == ['grey wolf', 'red fox', 'ice cream', 'st. bernard']
    (problem, *_) = ImageNetTest100Eval2Way(hundred, world.folder, shot=5).problems()
    assert "'Red Fox' has too few images" in problem


def test_the_published_training_set(world):
    cfg = {'type': 'ImageNet1kDatasetTrain', 'filename': world.filename, 'image_folder': world.folder, 'shot': 2}
    source = DATASETS.build({**cfg, 'policy': 'policy_2way_weight', 'template_string': 'What is in <image>?'})
    assert len(source) == 7
    assert source.episode(3, ItemRng(0, 0, 3)).meta['classes'][0] == 'St. Bernard'


def test_names_of_references_are_not_permuted(make):
    (problem,) = make(policy='policy_2way_ref', shot=3, control='permute_labels').problems()
    assert "control='permute_labels': the supports of this episode do not name its classes" in problem


def test_shots_are_drawn_per_item_and_epoch(make):
    source = make(shot={'type': 'uniform', 'low': 1, 'high': 3}, episodes_per_class=4)
    shots = {source.episode(index, ItemRng(0, 0, index)).meta['shot'] for index in range(28)}
    assert shots == {1, 2, 3}
    assert len(source.episode(0, ItemRng(0)).support) == 2 * source.episode(0, ItemRng(0)).meta['shot']


@pytest.mark.parametrize(
    'wrong',
    [0, True, 2.5, 'four', {'type': 'unifrom', 'low': 1, 'high': 2}, {'type': 'uniform', 'low': 2, 'high': 1},
     {'type': 'uniform', 'low': 1, 'hihg': 2}, {'type': 'weighted', 'low': 1, 'high': 2},
     {'type': 'uniform', 'low': '1', 'high': 2},
     {'type': 'uniform', 'low': 1.5, 'high': 2.5}],
)  # fmt: skip
def test_wrong_shots(wrong):
    with pytest.raises(ValueError, match='shot='):
        shot_range(wrong)


def test_wrong_configs_name_what_would_be_right(make):
    with pytest.raises(ValueError, match="no 'link_contxt'; did you mean 'link_context'"):
        make(policy={'type': 'link_contxt'})
    with pytest.raises(ValueError, match="no parameter 'nmes'; did you mean 'names'"):
        make(policy={**POLICY, 'nmes': 'real'})
    with pytest.raises(ValueError, match='expected a name or dict'):
        make(policy={'names': 'real'})
    with pytest.raises(ValueError, match="'blank_supports' or 'permute_labels'"):
        make(control='blank')
    with pytest.raises(ValueError, match='episodes_per_class=0'):
        make(episodes_per_class=0)


def test_problems_are_known_before_the_first_step(make, world):
    assert list(make().problems()) == []
    (few,) = {problem.split(':', 2)[2] for problem in make(shot=7).problems() if 'Red Fox' in problem}
    assert few == (
        " class 'Red Fox' has too few images: beside a query it gives 6 supports of other groups, and shot is 7; "
        'lower shot or add images'
    )
    (refused,) = make(policy={**POLICY, 'names': 'invent'}).problems()
    assert refused.startswith(f"{world.filename}:1: names='invent': ")
    assert "did you mean 'invented'" in refused


def test_describe_names_file_and_line(make, world):
    assert make(episodes_per_class=2).describe(9) == f'{world.filename}:3'
    assert ISEKAIEval2Way(world.isekai, world.folder, shot=1).describe(4) == f'{world.isekai}:5'


def test_registered_under_the_historical_name(world):
    source = DATASETS.build(
        {'type': 'ISEKAIEval2Way', 'filename': world.isekai, 'image_folder': world.folder, 'shot': 1}
    )
    assert len(source) == 6
    assert source[5]['meta']['label'] == 'Plain 5'
    assert DATASETS.get('LinkContextDataset') is LinkContextDataset


@pytest.mark.skipif(not (EMOJI / 'images.zip').is_file(), reason='data/emoji is not there')
@pytest.mark.parametrize(
    'cfg',
    [
        {'type': 'LinkContextDataset', 'filename': 'train_pairs.jsonl', 'shot': 2, 'distinct_groups': True},
        {'type': 'LinkContextDataset', 'filename': 'test_pairs.jsonl', 'shot': 2, 'distinct_groups': True},
        {'type': 'ISEKAIEval2Way', 'filename': 'invented.jsonl', 'shot': 4, 'policy': {'type': 'fixed_supports'}},
    ],
    ids=lambda cfg: cfg['filename'],
)
def test_shipped_concepts_are_not_told_by_their_art_family(cfg):
    files = {'filename': str(EMOJI / cfg['filename']), 'image_folder': str(EMOJI / 'images.zip')}
    source = DATASETS.build({'policy': POLICY, **cfg, **files})
    assert list(source.problems()) == []
    for index in range(0, len(source), 11):
        meta = source.episode(index, ItemRng(0, 0, index)).meta
        families = {entry['image_path'].split('/')[0] for entry in meta['support']}
        assert meta['image_path'].split('/')[0] not in families
