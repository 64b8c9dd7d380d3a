"""Published answers, reproduced through the product's own path: a study's YAML over a file, through all its stages.

A case is a folder in ``cases/`` with a ``defs.yaml``, whose table is ``$PUBLISHED/<folder>/<file>.parquet``, and a
``published.yaml``: what was published, where, and how close we must come.
"""
