# The same run where only the last image of a prompt reaches the language model, as the released LCL code computes.
_base_ = ['quickstart_lcl.py']

model_args = dict(image_splice='last_only')
data_args = dict(multitest=dict(_delete_=True, **_base_.HELDOUT))
