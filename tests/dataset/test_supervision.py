"""Which tokens are learnt follows from characters; images become runs of ids."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from mllm.dataset.supervision import TokenizedSegment, join_segments, place_images, tokenize_segment
from mllm.types import IGNORE_INDEX, Chunk, Segment
from tests.dataset.conftest import TOKENIZER

TOK = AutoTokenizer.from_pretrained(TOKENIZER)
IMAGE = TOK.convert_tokens_to_ids('<image>')
ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='<>'), min_size=1, max_size=20)


@given(st.lists(st.tuples(ASCII, st.booleans()), min_size=1, max_size=6))
def test_exactly_the_tokens_that_touch_a_supervised_chunk_are_learnt(parts: list[tuple[str, bool]]):
    segment = Segment(tuple(Chunk(text, supervised) for text, supervised in parts), bos=False, item=0)
    found = tokenize_segment(segment, TOK)
    owner = [supervised for text, supervised in parts for _ in text]
    position = 0
    for token, supervised in zip(found.input_ids, found.supervised, strict=True):
        width = len(TOK.decode([token]))
        assert supervised == any(owner[position : position + width])
        position += width
    assert position == len(segment.text)


def test_the_learnt_tokens_of_an_answer_are_the_answer_and_its_end():
    chunks = (Chunk(' USER: What? ASSISTANT: '), Chunk('there is "ab" in the image.</s>', True))
    found = tokenize_segment(Segment(chunks, bos=True, item=0), TOK)
    learnt = [token for token, supervised in zip(found.input_ids, found.supervised, strict=True) if supervised]
    assert TOK.decode(learnt).strip() == 'there is "ab" in the image.</s>'
    assert found.input_ids[0] == TOK.bos_token_id
    assert not found.supervised[0]


def test_image_runs_stand_in_order_and_are_never_learnt():
    segments = [TokenizedSegment([5, IMAGE, 6], [False, False, True]), TokenizedSegment([IMAGE, 7], [True, True])]
    ids, labels = join_segments(segments, [[70, 71], [80]], '<image>', IMAGE)
    assert ids == [5, 70, 71, 6, 80, 7]
    assert labels == [IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX, 6, IGNORE_INDEX, 7]


@pytest.mark.parametrize('runs', [[], [[1], [2]]])
def test_placeholders_and_images_must_agree(runs: list[list[int]]):
    with pytest.raises(ValueError, match=f'1 <image> placeholders for {len(runs)} images'):
        place_images([Segment((Chunk('<image>'),), bos=False, item=0)], runs, '<image>')


def test_texts_stand_for_images_in_order_and_are_tokenised_with_the_rest():
    chunks = (Chunk('<image> a<image>'), Chunk('b', True))
    segments = [Segment(chunks, False, 0), Segment((Chunk('c<image>'),), False, 1)]
    placed = place_images(segments, ['<1>', '<2>', '<3>'], '<image>')
    assert [segment.text for segment in placed] == ['<1> a<2>b', 'c<3>']
    assert [chunk.supervised for chunk in placed[0].chunks] == [False, True]


def test_image_tokens_of_a_text_are_never_learnt():
    segments = [TokenizedSegment([5, IMAGE, IMAGE, 6], [True] * 4)]
    ids, labels = join_segments(segments, ['<image><image>'], '<image>', IMAGE)
    assert ids == [5, IMAGE, IMAGE, 6]
    assert labels == [5, IGNORE_INDEX, IGNORE_INDEX, 6]


@pytest.mark.parametrize('runs', [[], [[70]], ['<image>']])
def test_an_image_token_in_a_question_is_an_error(runs: list[Any]):
    ids = [IMAGE] * (len(runs) + 1)
    with pytest.raises(ValueError, match=f'{len(ids)} times <image> where the images stand for {len(runs)}.*own token'):
        join_segments([TokenizedSegment(ids, [False] * len(ids))], runs, '<image>', IMAGE)


@pytest.mark.parametrize('learnt', [True, False])
def test_the_end_of_sequence_is_learnt_with_the_answer_before_it(learnt: bool):
    found = tokenize_segment(Segment((Chunk('a'), Chunk('b', learnt)), bos=True, item=0, eos=True), TOK)
    assert (found.input_ids[0], found.input_ids[-1]) == (TOK.bos_token_id, TOK.eos_token_id)
    assert (found.supervised[0], found.supervised[-1]) == (False, learnt)
