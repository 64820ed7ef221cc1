# Find the thing that a phrase names: RefCOCO, RefCOCO+ and RefCOCOg, and the regions of Visual Genome (ref4-gnome in
# the first versions of this project), as tools/convert.py writes them with --out data/refcoco and data/visual_genome.
REC_ROWS = '{{$MLLM_DATA:data}}/refcoco'
REC_IMAGES = '{{$MLLM_DATA:data}}/coco/train2014'
REC_VG = '{{$MLLM_DATA:data}}/visual_genome'
REC_TEMPLATES = '{{fileDirname}}/template/REC.json'


def rec(split):
    return dict(
        type='RECDataset', filename=f'{REC_ROWS}/{split}.jsonl', image_folder=REC_IMAGES, template_file=REC_TEMPLATES
    )


def rec_test(split):
    return dict(cfg=rec(split), compute_metric=dict(type='RECComputeMetrics'))


REC_REFCOCO_TRAIN = rec('refcoco_unc_train')
REC_REFCOCOA_TRAIN = rec('refcoco+_unc_train')
REC_REFCOCOG_TRAIN = rec('refcocog_umd_train')
# The same pictures as umd, parted in another way: what is trained on one cannot be tested on the other.
REC_REFCOCOG_GOOGLE_TRAIN = rec('refcocog_google_train')
REC_TRAIN = dict(type='ConcatDataset', cfgs=[REC_REFCOCO_TRAIN, REC_REFCOCOA_TRAIN, REC_REFCOCOG_TRAIN])
REC_VG_TRAIN = dict(
    type='RECDataset', filename=REC_VG + '/regions.jsonl', image_folder=REC_VG, template_file=REC_TEMPLATES
)

# The eight sets that papers report; REFCOCOA is RefCOCO+.
REC_TEST = dict(
    REC_REFCOCO_UNC_VAL=rec_test('refcoco_unc_val'),
    REC_REFCOCO_UNC_TESTA=rec_test('refcoco_unc_testA'),
    REC_REFCOCO_UNC_TESTB=rec_test('refcoco_unc_testB'),
    REC_REFCOCOA_UNC_VAL=rec_test('refcoco+_unc_val'),
    REC_REFCOCOA_UNC_TESTA=rec_test('refcoco+_unc_testA'),
    REC_REFCOCOA_UNC_TESTB=rec_test('refcoco+_unc_testB'),
    REC_REFCOCOG_UMD_VAL=rec_test('refcocog_umd_val'),
    REC_REFCOCOG_UMD_TEST=rec_test('refcocog_umd_test'),
)
REC_GOOGLE_TEST = dict(REC_REFCOCOG_GOOGLE_VAL=rec_test('refcocog_google_val'))
