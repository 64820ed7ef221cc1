# Link-Context Learning as published (2-way, weighted shots), over Shikra. The code it was released with shows the query's
# image alone to the language model; evaluate it so with --cfg-options model_args.image_splice=last_only, and compare.
_base_ = 'llava_v1_7b.py'

model_args = dict(
    llm=None, model_name_or_path='ISEKAI-Portal/LCL_2WAY_WEIGHT', model_max_length=30000, dtype='bfloat16'
)
