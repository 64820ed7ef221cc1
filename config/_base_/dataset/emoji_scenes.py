# Scenes of several emoji; `python tools/emoji/build_scenes.py` makes them. Test scenes have layouts of their own, and
# those of test_art are drawn in an art style that no other scene shows.
SCENES = '{{fileDirname}}/../../../data/emoji_scenes'
IMAGES = SCENES + '/images.zip'
TURNS = 4

REC = dict(type='RECDataset', image_folder=IMAGES, template_string='<image> Where is <expr>?')
REG = dict(type='REGDataset', image_folder=IMAGES, template_string='<image> What is at <objs>?')
POINT_QA = dict(type='Point_QA_local', image_folder=IMAGES, template_string='<image> <question>', version='b')
CHOICE = dict(type='V7W_POINT', image_folder=IMAGES, template_string='<image> <question>', version='b')
COUNT = dict(type='ClevrDataset', image_folder=IMAGES, template_string='<image> <question>')
CAPTION = dict(type='FlickrDataset', image_folder=IMAGES, template_string='<image> What can be seen, and where?')


def joined(dataset, name):
    """Training scenes, each with up to TURNS questions of a task in one conversation."""
    return dict(type='JoinTurns', cfg=dict(**dataset, filename=f'{SCENES}/{name}_train.jsonl'), turns=TURNS)


def asked(dataset, name, metric, split='test', portion=1.0):
    """A task's questions about scenes of one split, one at a time."""
    cfg = dict(**dataset, filename=f'{SCENES}/{name}_{split}.jsonl')
    if portion < 1:
        cfg = dict(type='SubSet', cfg=cfg, portion=portion)
    return dict(cfg=cfg, compute_metric=metric)


def blanked(entry):
    """The same questions about white images."""
    return dict(cfg=dict(type='BlankImages', cfg=entry['cfg']), compute_metric=entry['compute_metric'])


BOXES = dict(type='RECComputeMetrics')
KINDS = ('name', 'colour', 'position', 'relation')

REC_TRAIN = joined(REC, 'rec')
REC_TEST = {
    **{f'rec_{kind}': asked(REC, f'rec_{kind}', BOXES) for kind in KINDS},
    **{f'rec_{kind}_unseen_art': asked(REC, f'rec_{kind}', BOXES, 'test_art') for kind in KINDS},
}
REC_BLANKED = {'rec_name_blanked': blanked(REC_TEST['rec_name'])}

EXPRESSION = dict(type='CaptionComputeMetrics', meteor=False)
MIX_TRAIN = dict(
    type='InterleaveDataset',
    cfgs=[
        REC_TRAIN,
        joined(REG, 'reg'),
        joined(POINT_QA, 'point_qa'),
        joined(CHOICE, 'choice'),
        joined(COUNT, 'clevr'),
        joined(CAPTION, 'caption'),
    ],
    probabilities=[0.35, 0.15, 0.1, 0.15, 0.1, 0.15],
    stopping_strategy='all_exhausted',
)
MIX_TEST = {
    'rec': asked(REC, 'rec', BOXES, portion=0.25),
    'reg': asked(REG, 'reg', EXPRESSION, portion=0.25),
    'point_qa': asked(POINT_QA, 'point_qa', dict(type='PointQAComputeMetrics'), portion=0.25),
    'choice': asked(CHOICE, 'choice', dict(type='V7WComputeMetrics'), portion=0.5),
    'count': asked(COUNT, 'clevr', dict(type='GQAComputeMetrics'), portion=0.25),
    'caption': asked(CAPTION, 'caption', dict(type='FlickrComputeMetrics', meteor=False), portion=0.5),
}
MIX_BLANKED = {f'{name}_blanked': blanked(entry) for name, entry in MIX_TEST.items()}
