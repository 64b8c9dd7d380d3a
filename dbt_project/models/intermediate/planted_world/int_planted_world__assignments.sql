select
    program,
    customer_id as unit_id,
    arm,
    assigned_at
from {{ ref('stg_planted_world__assignments') }}
