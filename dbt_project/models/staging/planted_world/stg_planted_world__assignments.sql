with deliveries as (
    {{
        latest_version(
            source('raw', 'planted_world__assignments'), ['program', 'customer_id', 'assigned_at'], 'received_at'
        )
    }}
)

select
    program,
    customer_id,
    arm,
    versions,
    assigned_at,
    received_at
from deliveries
