from mllm.metric.tables import numbers_by
from mllm.metric.text import ExactMatch
from mllm.types import Prediction


def test_any_metric_can_group_its_predictions():
    answers = [('a', 'yes', 'yes'), ('b', 'no', 'yes'), ('c', '', 'yes'), ('b', 'no', 'yes'), (None, 'yes', 'yes')]
    predictions = [Prediction(i, pred, target, {'kind': kind}) for i, (kind, pred, target) in enumerate(answers)]
    metric = ExactMatch()
    rows = numbers_by('kind', lambda prediction: prediction.meta['kind'], metric.compute, predictions)
    assert [row['kind'] for row in rows] == ['b', 'c', 'a']
    assert rows[0] == {'kind': 'b', **metric.compute([predictions[1], predictions[3]])}
    assert next(iter(rows[0])) == 'kind'
    assert numbers_by('kind', lambda prediction: None, metric.compute, predictions) == []
