select
    study,
    outcome,
    estimand,
    segment,
    value
from {{ source('raw', 'planted_world__truth') }}
