# Visual questions of many kinds in one run: a table of results, and answers for the official servers where nobody else
# knows the right ones.
_base_ = [
    '_base_/dataset/vqa.py',
    '_base_/dataset/gqa.py',
    '_base_/dataset/pope.py',
    '_base_/dataset/science_qa.py',
    '_base_/model/llava_v1_7b.py',
    '_base_/train/eval.py',
]

model_args = dict(dtype='bfloat16')
data_args = dict(
    multitest={
        **_base_.VQA_TEST,
        'GQA_testdev': _base_.GQA_TEST['GQA_Q_A_TESTDEV'],
        **_base_.COCO_POPE,
        'ScienceQA_test': _base_.SCIENCEQA_TEST['ScienceQA_test'],
        **_base_.VQA_PREDICT,
    },
    gen_kwargs=dict(max_new_tokens=64, num_beams=1),
)
