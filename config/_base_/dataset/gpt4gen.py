# Questions and grounded explanations of Shikra-RD, on the images of Flickr30k.
GPT4GEN_DATA = '{{$MLLM_DATA:data}}'


def gpt4gen(version, template):
    return dict(
        type='GPT4Gen',
        filename=f'{GPT4GEN_DATA}/gpt4gen/train.jsonl',
        image_folder=GPT4GEN_DATA + '/flickr30k/flickr30k-images',
        template_file='{{fileDirname}}/template/' + template + '.json',
        version=version,
    )


GPT4GEN_TRAIN = dict(QA=gpt4gen('a', 'VQA'), QC=gpt4gen('c', 'VQA_CoT'), QBC=gpt4gen('bc', 'VQA_BCoT'))
