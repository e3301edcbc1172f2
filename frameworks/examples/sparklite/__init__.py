"""sparklite programs on text that every machine has, each checked against an answer in plain Python.

python -m mesolite.frameworks.examples.sparklite.word_count
"""
