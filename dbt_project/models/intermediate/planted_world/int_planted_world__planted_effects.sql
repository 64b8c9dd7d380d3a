select
    study,
    customer_id as unit_id,
    treatment,
    outcome,
    effect
from {{ ref('stg_planted_world__effects') }}
