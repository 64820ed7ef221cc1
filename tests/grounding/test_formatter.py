import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm.grounding.formatter import BoxFormatter, PlainBoxFormatter, TokenFormatter, substitute
from mllm.registry import FORMATTERS

ONE, WHOLE, ODD = [0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 1.0], [0.1235, 0.9995, 0.0005, 0.5]
POINTS = [[0.25, 0.75], [1 / 3, 1.0]]
SMALL = PlainBoxFormatter(use_small_brackets=True)


@pytest.mark.parametrize(
    ('formatter', 'boxes', 'text'),
    [
        (PlainBoxFormatter(), [ONE], '[0.100,0.200,0.300,0.400]'),
        (
            PlainBoxFormatter(),
            [ONE, WHOLE, ODD],
            '[0.100,0.200,0.300,0.400;0.000,0.000,1.000,1.000;0.123,1.000,0.001,0.500]',
        ),
        (SMALL, [ONE, ODD], '(0.100,0.200,0.300,0.400;0.123,1.000,0.001,0.500)'),
        (PlainBoxFormatter(precision=2), [ODD], '[0.12,1.00,0.00,0.50]'),
        (PlainBoxFormatter(precision=0), [ONE, WHOLE], '[0,0,0,0;0,0,1,1]'),
        (PlainBoxFormatter(), [], '[]'),
        (PlainBoxFormatter(), [[0.4995, 0.0015, 0.9995, 1]], '[0.499,0.002,1.000,1.000]'),
        (TokenFormatter(), [ONE], '<b_st><bin_100> <bin_200> <bin_300> <bin_400><b_ed>'),
        (
            TokenFormatter(),
            [WHOLE, ODD],
            '<b_st><bin_0> <bin_0> <bin_1000> <bin_1000><b_sep><bin_124> <bin_1000> <bin_0> <bin_500><b_ed>',
        ),
        (TokenFormatter(), [[0.0005, 0.0025, 0.4995, 1]], '<b_st><bin_0> <bin_2> <bin_500> <bin_1000><b_ed>'),
        (TokenFormatter(num_bins=101), [ONE], '<b_st><bin_10> <bin_20> <bin_30> <bin_40><b_ed>'),
        (TokenFormatter(), [], '<b_st><b_ed>'),
    ],
)
def test_boxes_as_published_checkpoints_read_them(formatter: BoxFormatter, boxes: list, text: str):
    assert formatter.format_boxes(boxes) == text


@pytest.mark.parametrize(
    ('formatter', 'text'),
    [
        (PlainBoxFormatter(), '[0.250,0.750;0.333,1.000]'),
        (PlainBoxFormatter(precision=5, use_small_brackets=True), '(0.25000,0.75000;0.33333,1.00000)'),
        (TokenFormatter(), '<p_st><bin_250> <bin_750><p_sep><bin_333> <bin_1000><p_ed>'),
        (TokenFormatter(num_bins=101), '<p_st><bin_25> <bin_75><p_sep><bin_33> <bin_100><p_ed>'),
    ],
)
def test_points_as_published_checkpoints_read_them(formatter: BoxFormatter, text: str):
    assert formatter.format_points(POINTS) == text


@pytest.mark.parametrize(
    ('text', 'boxes', 'points'),
    [
        ('Answer: [0.1,0.2,0.3,0.4] .', [[[0.1, 0.2, 0.3, 0.4]]], []),
        ('[0,0,1,1]', [[[0, 0, 1, 1]]], []),
        ('[0.,0.5,1.,1]', [[[0, 0.5, 1, 1]]], []),
        ('[1.5,9.2,0.3,0.4]', [[[1.5, 9.2, 0.3, 0.4]]], []),
        ('[[0.1,0.2,0.3,0.4]]', [[[0.1, 0.2, 0.3, 0.4]]], []),
        ('[0.1,0.2][0.3,0.4]', [], [[[0.1, 0.2]], [[0.3, 0.4]]]),
        ('[0.1,0.2;0.3,0.4]', [], [[[0.1, 0.2], [0.3, 0.4]]]),
        (
            'a[0.1,0.2,0.3,0.4]b[0.5,0.6,0.7,0.8;0.1,0.1,0.2,0.2]',
            [[[0.1, 0.2, 0.3, 0.4]], [[0.5, 0.6, 0.7, 0.8], [0.1, 0.1, 0.2, 0.2]]],
            [],
        ),
    ],
)
def test_plain_text_is_read_as_it_was(text: str, boxes: list, points: list):
    assert PlainBoxFormatter().extract_boxes(text) == boxes
    assert PlainBoxFormatter().extract_points(text) == points
    assert SMALL.extract_boxes(text) == []
    assert SMALL.extract_boxes(text.replace('[', '(').replace(']', ')')) == boxes


@pytest.mark.parametrize(
    'text',
    [
        '',
        '[]',
        '[0.1, 0.2, 0.3, 0.4]',
        '[0.1,0.2,0.3]',
        '[0.1,0.2,0.3,0.4,0.5]',
        '[0.1,0.2,0.3,0.4',
        '(0.1,0.2,0.3,0.4)',
        '[-0.1,0.2,0.3,0.4]',
        '[10.5,0.2,0.3,0.4]',
        '[.1,.2,.3,.4]',
        '[0.1,0.2,0.3,0.4;]',
        '[0.1,0.2,0.3,0.4;0.1,0.2]',
        '[0.1,0.2,0.3,0.4 ]',
        '[0.1,0.2,0.3,\u0661]',
    ],
)
def test_what_is_no_box_is_not_read_as_one(text: str):
    assert PlainBoxFormatter().extract_boxes(text) == []
    assert PlainBoxFormatter().extract_points(text) == []


@pytest.mark.parametrize(
    ('text', 'boxes', 'points'),
    [
        ('x <b_st><bin_1><bin_2> <bin_3><bin_4><b_ed> y', [[[0.001, 0.002, 0.003, 0.004]]], []),
        (
            '<b_st> <bin_1> <bin_2> <bin_3> <bin_4> <b_sep><bin_5> <bin_6> <bin_7> <bin_8><b_ed>',
            [[[0.001, 0.002, 0.003, 0.004], [0.005, 0.006, 0.007, 0.008]]],
            [],
        ),
        ('<p_st><bin_250> <bin_750><p_ed> and <p_st><bin_1><bin_2><p_ed>', [], [[[0.25, 0.75]], [[0.001, 0.002]]]),
        ('<b_st><bin_1><bin_2><bin_3><b_ed>', [], []),
        ('<b_st><bin_><bin_2><bin_3><bin_4><b_ed>', [], []),
        ('<p_st><bin_1><bin_2><b_ed>', [], []),
        ('<b_st><b_ed><p_st><p_ed>', [], []),
    ],
)
def test_tokens_are_read_with_and_without_blanks(text: str, boxes: list, points: list):
    assert TokenFormatter().extract_boxes(text) == boxes
    assert TokenFormatter().extract_points(text) == points


def test_the_tokens_a_tokenizer_must_know():
    tokens = TokenFormatter(num_bins=11).special_tokens()
    assert tokens[:6] == ['<b_st>', '<b_sep>', '<b_ed>', '<p_st>', '<p_sep>', '<p_ed>']
    assert tokens[6:] == [f'<bin_{number}>' for number in range(11)]
    assert PlainBoxFormatter().special_tokens() == []


plain = st.builds(PlainBoxFormatter, precision=st.integers(0, 6), use_small_brackets=st.booleans())
token = st.builds(TokenFormatter, num_bins=st.integers(2, 2000))
unit = st.floats(0, 1)
groups = st.lists(st.lists(st.tuples(unit, unit, unit, unit).map(list), min_size=1, max_size=4), max_size=3)


def on_grid(formatter: BoxFormatter, value: float) -> float:
    """The nearest value that the formatter can write."""
    if isinstance(formatter, PlainBoxFormatter):
        return round(value, formatter.precision)
    assert isinstance(formatter, TokenFormatter)
    return round(value * (formatter.num_bins - 1)) / (formatter.num_bins - 1)


@given(plain | token, groups, st.sampled_from([' ', ' and ', '[', 'x 0.1,0.2 (', '.']))
def test_reading_undoes_writing_for_boxes(formatter: BoxFormatter, groups: list, between: str):
    text = between + between.join(formatter.format_boxes(group) for group in groups) + between
    expected = [[[on_grid(formatter, value) for value in box] for box in group] for group in groups]
    assert formatter.extract_boxes(text) == expected
    assert [formatter.format_boxes(group) for group in formatter.extract_boxes(text)] == [
        formatter.format_boxes(group) for group in groups
    ]
    assert formatter.extract_points(text) == []


@given(plain | token, groups)
def test_reading_undoes_writing_for_points(formatter: BoxFormatter, groups: list):
    points = [[box[:2] for box in group] for group in groups]
    text = ' '.join(formatter.format_points(group) for group in points)
    assert formatter.extract_points(text) == [
        [[on_grid(formatter, value) for value in point] for point in group] for group in points
    ]
    assert formatter.extract_boxes(text) == []


@given(plain | token, st.lists(st.floats(allow_nan=False), min_size=4, max_size=4))
def test_values_outside_are_clamped(formatter: BoxFormatter, box: list[float]):
    clamped = [min(max(value, 0.0), 1.0) for value in box]
    assert formatter.format_boxes([box]) == formatter.format_boxes([[abs(value) for value in clamped]])
    assert len(formatter.extract_boxes(formatter.format_boxes([box]))) == 1


def test_a_negative_zero_can_be_read_back():
    assert PlainBoxFormatter().format_points([[-0.0, 0.5]]) == '[0.000,0.500]'


@pytest.mark.parametrize('value', [-1, 1.5, '3', None])
def test_nonsense_precision(value: object):
    with pytest.raises(ValueError, match=r'precision=.*expected a number of decimals'):
        FORMATTERS.build({'type': 'PlainBoxFormatter', 'precision': value})


@pytest.mark.parametrize('value', [0, 1, 10.5])
def test_nonsense_bins(value: object):
    with pytest.raises(ValueError, match=r'num_bins=.*expected a number of bins'):
        FORMATTERS.build({'type': 'TokenFormatter', 'num_bins': value})


TARGET = {'boxes': [ONE, WHOLE], 'points': POINTS}


@pytest.mark.parametrize(
    ('value', 'boxes_seq', 'points_seq', 'text'),
    [
        ('none', None, None, 'none'),
        ('none', [], [], 'none'),
        ('a <boxes> b', [[0]], None, 'a [0.100,0.200,0.300,0.400] b'),
        (
            '<boxes><boxes>',
            [[1], [0, 1]],
            [],
            '[0.000,0.000,1.000,1.000][0.100,0.200,0.300,0.400;0.000,0.000,1.000,1.000]',
        ),
        ('<points> in <boxes>', [[1]], [[1, 0]], '[0.333,1.000;0.250,0.750] in [0.000,0.000,1.000,1.000]'),
        ('x {} <boxes>', [[1]], None, 'x {} [0.000,0.000,1.000,1.000]'),
        ('{{<boxes>}} {y} {0}', [[1]], None, '{{[0.000,0.000,1.000,1.000]}} {y} {0}'),
        ('100 %s \\1 $1 <boxes>', [[1]], None, '100 %s \\1 $1 [0.000,0.000,1.000,1.000]'),
    ],
)
def test_substitution(value: str, boxes_seq: list | None, points_seq: list | None, text: str):
    assert substitute(value, boxes_seq, points_seq, TARGET, PlainBoxFormatter()) == text


def test_four_boxes_and_two_points_go_where_they_belong():
    """An item with several placeholders of both kinds in one turn."""
    target = {'boxes': [[n / 10] * 4 for n in range(1, 5)], 'points': [[0.5, 0.6], [0.7, 0.8]]}
    value = 'Is <boxes> left of <boxes>? See <points>, <boxes> and <points>.'
    text = substitute(value, [[0], [2, 1], [3]], [[1], [0]], target, PlainBoxFormatter(precision=1))
    assert text == (
        'Is [0.1,0.1,0.1,0.1] left of [0.3,0.3,0.3,0.3;0.2,0.2,0.2,0.2]? '
        'See [0.7,0.8], [0.4,0.4,0.4,0.4] and [0.5,0.6].'
    )


@pytest.mark.parametrize(
    ('value', 'boxes_seq', 'points_seq', 'target', 'message'),
    [
        ('a <boxes>', [], None, TARGET, "1 <boxes> in 'a <boxes>', but boxes_seq has 0 entries"),
        ('a <boxes>', None, None, TARGET, 'boxes_seq has 0 entries'),
        ('none', [[0]], None, TARGET, "0 <boxes> in 'none', but boxes_seq has 1 entries"),
        ('<points>', None, [[0], [1]], TARGET, '1 <points> .* points_seq has 2 entries'),
        ('<boxes>', [[2]], None, TARGET, r'boxes_seq names boxes \[2\], but the target has 2 boxes'),
        ('<boxes>', [[-1, 0, 5]], None, TARGET, r'boxes_seq names boxes \[-1, 5\], but the target has 2'),
        ('<boxes>', [['0']], None, TARGET, r"boxes_seq names boxes \['0'\]"),
        ('<boxes>', [[0]], None, None, 'the target has 0 boxes'),
        ('<points>', None, [[0]], {'boxes': [ONE]}, 'the target has 0 points'),
        (
            '<boxes>',
            [0],
            None,
            TARGET,
            r'boxes_seq=\[0\]: expected a list of numbers for each <boxes>, such as \[\[0\], \[1, 2\]\]',
        ),
    ],
)
def test_substitution_that_cannot_be(value: str, boxes_seq, points_seq, target, message: str):
    with pytest.raises(ValueError, match=message):
        substitute(value, boxes_seq, points_seq, target, PlainBoxFormatter())


def test_by_name_in_a_config():
    assert FORMATTERS.build({'type': 'PlainBoxFormatter', 'precision': 1}).format_points([[0.5, 1]]) == '[0.5,1.0]'
    assert FORMATTERS.build({'type': 'TokenFormatter'}).num_bins == 1001
