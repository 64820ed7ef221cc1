# LLaVA v1 on a 13B LLaMA; all else is as in the 7B one.
_base_ = 'llava_v1_7b.py'

model_args = dict(llm='lmsys/vicuna-13b-v1.3')
