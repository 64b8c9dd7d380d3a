select
    study,
    customer_id,
    treatment,
    outcome,
    effect
from {{ source('raw', 'planted_world__effects') }}
