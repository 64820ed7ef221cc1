# Otter over MPT-7B, whose head is its embeddings.
_base_ = 'otter_7b.py'

model_args = dict(
    model_name_or_path='luodian/OTTER-Image-MPT7B', tokenizer='anas-awadalla/mpt-7b', tune_lm_head=False
)
