"""Published answers, reproduced through the product's own path: a study's YAML over a file, through all its stages.

A case is a folder in ``cases/`` with a ``defs.yaml``, whose table is ``$PUBLISHED/<folder>/<file>.parquet`` (or
``$PREPARED/<file>.parquet``, made of it in ``data.py``), and a ``published.yaml``: what was published, where, and how
close we must come. Its entries name one finding (``find``: role, outcome, estimand, method; ``field`` of it, the value
by default), one diagnostic's value (``check``) or its ``status``. An entry that disagrees fails the run, unless it is
``known`` why, with proof; ``refused`` quotes the error of a study that rightly gives no answer.
"""
