# Shikra. What is published is a delta over the original LLaMA-7B; make the model of it first:
#   python tools/convert_checkpoint.py delta apply --base LLAMA_7B --delta SHIKRA_7B_DELTA_V1 --out exp/shikra_7b
_base_ = 'llava_v1_7b.py'

model_args = dict(llm=None, model_name_or_path='exp/shikra_7b', dtype='bfloat16')
