# Referring expressions: trains on RefCOCO, RefCOCO+ and RefCOCOg (umd).
_base_ = ['_base_/dataset/rec.py', '_base_/model/llava_v1_7b.py', '_base_/train/llava_fsdp.py']

data_args = dict(train=_base_.REC_TRAIN)
