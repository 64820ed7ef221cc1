"""Which tokens are learnt follows from characters; images become runs of ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from mllm.dataset.supervision import TokenizedSegment, join_segments, tokenize_segment
from mllm.types import IGNORE_INDEX, Chunk, Segment
from tests.dataset.conftest import TOKENIZER

TOK = AutoTokenizer.from_pretrained(TOKENIZER)
IMAGE = TOK.convert_tokens_to_ids('<image>')
ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='<>'), min_size=1, max_size=20)


@given(st.lists(st.tuples(ASCII, st.booleans()), min_size=1, max_size=6))
def test_exactly_the_tokens_that_touch_a_supervised_chunk_are_learnt(parts: list[tuple[str, bool]]):
    segment = Segment(tuple(Chunk(text, supervised) for text, supervised in parts), bos=False, item=0)
    found = tokenize_segment(segment, TOK, '<image>')
    owner = [supervised for text, supervised in parts for _ in text]
    position = 0
    for token, supervised in zip(found.input_ids, found.supervised, strict=True):
        width = len(TOK.decode([token]))
        assert supervised == any(owner[position : position + width])
        position += width
    assert position == len(segment.text)


def test_the_learnt_tokens_of_an_answer_are_the_answer_and_its_end():
    chunks = (Chunk(' USER: What? ASSISTANT: '), Chunk('there is "ab" in the image.</s>', True))
    found = tokenize_segment(Segment(chunks, bos=True, item=0), TOK, '<image>')
    learnt = [token for token, supervised in zip(found.input_ids, found.supervised, strict=True) if supervised]
    assert TOK.decode(learnt).strip() == 'there is "ab" in the image.</s>'
    assert found.input_ids[0] == TOK.bos_token_id
    assert not found.supervised[0]


def test_image_runs_stand_in_order_and_are_never_learnt():
    segments = [TokenizedSegment([5, IMAGE, 6], [False, False, True]), TokenizedSegment([IMAGE, 7], [True, True])]
    ids, labels = join_segments(segments, [[70, 71], [80]], IMAGE)
    assert ids == [5, 70, 71, 6, 80, 7]
    assert labels == [IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX, 6, IGNORE_INDEX, 7]


@pytest.mark.parametrize('runs', [[], [[1], [2]]])
def test_placeholders_and_images_must_agree(runs: list[list[int]]):
    with pytest.raises(ValueError, match=f'1 <image> placeholders for {len(runs)} images'):
        join_segments([TokenizedSegment([IMAGE], [False])], runs, IMAGE)
