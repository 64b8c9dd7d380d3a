select
    study,
    outcome,
    estimand,
    segment,
    value
from {{ ref('stg_planted_world__truth') }}
