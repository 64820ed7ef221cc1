# The tasks that Shikra was trained on, one dataset each: what stages 1 and 2 and the link-context mixtures are made of.
_base_ = [
    'rec.py',
    'reg.py',
    'gc.py',
    'vqa.py',
    'vcr.py',
    'caption.py',
    'flickr.py',
    'instruct.py',
    'pointqa.py',
    'visual7w.py',
    'gpt4gen.py',
]


def part(cfg, portion, seed):
    return dict(type='SubSet', cfg=cfg, portion=portion, do_shuffle=True, seed=seed)


SHIKRA_TASKS = dict(
    gc=part(_base_.GC_TRAIN, 1 / 20, 42),
    recvg=part(_base_.REC_VG_TRAIN, 1 / 20, 43),
    llavacc3m=_base_.LLAVA_CC3M_TRAIN,
    llavalcs=_base_.LLAVA_LCS_TRAIN,
    vqav2=_base_.VQAV2_TRAIN,
    vqae=_base_.VQAE_TRAIN,
    vqax=_base_.VQAX_TRAIN,
    caption=_base_.CAPTION_TRAIN,
    rec=_base_.REC_TRAIN,
    reg=_base_.REG_TRAIN,
    flickr=_base_.FLICKR_TRAIN,
    vcr_q_ra=_base_.VCR_TRAIN['q-ra'],
    vcr_qc_rac=_base_.VCR_TRAIN['qc-rac'],
    vcr_qac_r=_base_.VCR_TRAIN['qac-r'],
    point_local_b=_base_.POINT_LOCAL_TRAIN['b'],
    point_local_p=_base_.POINT_LOCAL_TRAIN['p'],
    point_twice_oq=_base_.POINT_TWICE_TRAIN['oq_bp'],
    point_twice_sq=_base_.POINT_TWICE_TRAIN['sq_bp'],
    point_twice_gq=_base_.POINT_TWICE_TRAIN['gq_bp'],
    v7w_p=_base_.POINT_V7W_TRAIN['p'],
    v7w_b=_base_.POINT_V7W_TRAIN['b'],
)
