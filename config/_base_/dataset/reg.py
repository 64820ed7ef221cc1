# Name the thing in a box by a phrase that fits nothing else: the rows of rec.py backwards. A test row is a thing, and
# all that people called it are its references.
REG_ROWS = '{{$MLLM_DATA:data}}/refcoco'
REG_IMAGES = '{{$MLLM_DATA:data}}/coco/train2014'
REG_TEMPLATES = '{{fileDirname}}/template/REG.json'


def reg(split, **arguments):
    return {
        'type': 'REGDataset',
        'filename': f'{REG_ROWS}/{split}.jsonl',
        'image_folder': REG_IMAGES,
        'template_file': REG_TEMPLATES,
        **arguments,
    }


def reg_test(split):
    return dict(cfg=reg(f'reg_{split}'), compute_metric=dict(type='CaptionComputeMetrics'))


REG_REFCOCO_TRAIN = reg('refcoco_unc_train')
REG_REFCOCOA_TRAIN = reg('refcoco+_unc_train')
REG_REFCOCOG_TRAIN = reg('refcocog_umd_train')
REG_REFCOCOG_GOOGLE_TRAIN = reg('refcocog_google_train')
REG_TRAIN = dict(type='ConcatDataset', cfgs=[REG_REFCOCO_TRAIN, REG_REFCOCOA_TRAIN, REG_REFCOCOG_TRAIN])
# Phrases of more than three words only: ref_reverse in the first versions of this project.
REF_REVERSE = reg('refcocog_umd_train', type='ReverseRECDataset', caption_min_words=3)

REG_TEST = dict(
    REG_REFCOCO_UNC_VAL=reg_test('refcoco_unc_val'),
    REG_REFCOCO_UNC_TESTA=reg_test('refcoco_unc_testA'),
    REG_REFCOCO_UNC_TESTB=reg_test('refcoco_unc_testB'),
    REG_REFCOCOA_UNC_VAL=reg_test('refcoco+_unc_val'),
    REG_REFCOCOA_UNC_TESTA=reg_test('refcoco+_unc_testA'),
    REG_REFCOCOA_UNC_TESTB=reg_test('refcoco+_unc_testB'),
    REG_REFCOCOG_UMD_VAL=reg_test('refcocog_umd_val'),
    REG_REFCOCOG_UMD_TEST=reg_test('refcocog_umd_test'),
)
REG_GOOGLE_TEST = dict(REG_REFCOCOG_GOOGLE_VAL=reg_test('refcocog_google_val'))
