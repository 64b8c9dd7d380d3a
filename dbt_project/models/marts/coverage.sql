select
    source,
    min(day) as first_day,
    max(day) as last_day
from {{ ref('unit_days') }}
group by source
