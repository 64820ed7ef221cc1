# Shikra's training mixtures by stage. Every draw has a seed, so that all ranks read the same samples.
_base_ = ['shikra_tasks.py']


def shuffled(cfgs, seed, portion=1.0):
    return dict(type='ConcatDatasetWithShuffle', cfgs=cfgs, seed=seed, portion=portion)


def interleaved(cfgs, probabilities, seed):
    return dict(
        type='InterleaveDataset',
        cfgs=cfgs,
        probabilities=probabilities,
        seed=seed,
        stopping_strategy='first_exhausted',
    )


SHIKRA_STAGE0 = dict(type='ConcatDataset', cfgs=[_base_.REC_TRAIN, _base_.REC_VG_TRAIN])
SHIKRA_STAGE1 = dict(type='ConcatDataset', cfgs=[*_base_.SHIKRA_TASKS.values()])

SHIKRA_DIALOGUE = shuffled([_base_.INSTRUCT_TRAIN, _base_.GPT4GEN_TRAIN['QBC']], 42)
SHIKRA_GROUPS = [
    _base_.FLICKR_TRAIN,
    _base_.REC_TRAIN,
    shuffled([_base_.SHIKRA_TASKS[name] for name in ('vqav2', 'vqae', 'vqax')], 43),
    shuffled([_base_.SHIKRA_TASKS[name] for name in ('vcr_q_ra', 'vcr_qc_rac', 'vcr_qac_r')], 44),
    shuffled([_base_.SHIKRA_TASKS[name] for name in ('point_local_b', 'point_local_p')], 45, portion=3.0),
    shuffled(
        [
            _base_.SHIKRA_TASKS[name]
            for name in ('point_twice_oq', 'point_twice_sq', 'point_twice_gq', 'v7w_p', 'v7w_b')
        ],
        46,
    ),
    shuffled(
        [
            _base_.REG_TRAIN,
            _base_.CAPTION_TRAIN,
            dict(type='SubSet', cfg=_base_.LLAVA_CC3M_TRAIN, portion=2 / 3, do_shuffle=True, seed=40),
            dict(type='SubSet', cfg=_base_.LLAVA_LCS_TRAIN, portion=2 / 3, do_shuffle=True, seed=41),
            dict(type='SubSet', cfg=_base_.GC_TRAIN, portion=1 / 15, do_shuffle=True, seed=42),
        ],
        47,
    ),
]
SHIKRA_GROUNDING = interleaved(SHIKRA_GROUPS, [1 / len(SHIKRA_GROUPS)] * len(SHIKRA_GROUPS), 48)
# The first number is the share of dialogue: one half at first, a tenth for the published model.
SHIKRA_STAGE2_HALF = interleaved([SHIKRA_DIALOGUE, SHIKRA_GROUNDING], [0.5, 0.5], 49)
SHIKRA_STAGE2 = interleaved([SHIKRA_DIALOGUE, SHIKRA_GROUNDING], [0.1, 0.9], 49)
