# OpenFlamingo-4B: CLIP ViT-L/14 and RedPajama-INCITE-3B, cross-attention before every second layer.
_base_ = 'openflamingo_3b.py'

model_args = dict(llm='togethercomputer/RedPajama-INCITE-Base-3B-v1', checkpoint='openflamingo/OpenFlamingo-4B-vitl-rpj3b', cross_attn_every_n_layers=2)
