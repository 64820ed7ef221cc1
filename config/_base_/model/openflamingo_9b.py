# OpenFlamingo-9B: CLIP ViT-L/14 and MPT-7B, cross-attention before every fourth layer.
_base_ = 'openflamingo_3b.py'

model_args = dict(llm='anas-awadalla/mpt-7b', checkpoint='openflamingo/OpenFlamingo-9B-vitl-mpt7b', cross_attn_every_n_layers=4)
