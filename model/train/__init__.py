"""Makes the default model of FastSentiment: MiniLM fine-tuned on SST-2, in int8.

Run from the folder above this one: `python -m train --data DIR --out DIR`.
"""
