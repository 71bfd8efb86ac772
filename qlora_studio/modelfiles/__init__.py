"""Reading the files of a base model without trusting them: configs, weight headers, tokenizers, model cards.

Nothing here imports torch or transformers, and nothing is unpickled or executed. `check.check_folder` reads a
folder and either returns everything the studio needs to know of it or raises `ModelRefused` with the sentence
shown to the person; `prepare.prepare_folder` then writes the cleaned copy that a worker loads.
"""
