# A row of the paper's table 1, ISEKAI-10: 1 to 8 images per class, the paper's 2 to 16.
_base_ = ['_base_/dataset/isekai.py', '_base_/model/llava_v1_7b.py', '_base_/train/eval.py']

model_args = dict(model_max_length=30000, dtype='bfloat16')
data_args = dict(multitest=_base_.ISEKAI_10, gen_kwargs=dict(max_new_tokens=1024, num_beams=1))
training_args = dict(per_device_eval_batch_size=8)
