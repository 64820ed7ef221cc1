# Referring expressions: evaluates a model of rec_llava_v1_7b_fsdp.py on the eight test sets that papers report, with
# --cfg-options model_args.model_name_or_path=MODEL
_base_ = ['_base_/dataset/rec.py', '_base_/model/llava_v1_7b.py', '_base_/train/eval.py']

model_args = dict(dtype='bfloat16')
data_args = dict(multitest={**_base_.REC_TEST}, gen_kwargs=dict(max_new_tokens=64, num_beams=1))
