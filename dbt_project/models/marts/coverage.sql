select
    source,
    min(day) as first_day,
    -- one event with a date in the future must not make every window look passed; today has not ended
    least(max(day), current_date - 1) as last_day
from {{ ref('unit_days') }}
group by source
