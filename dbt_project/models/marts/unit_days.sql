{% for source_model in ['int_planted_world__unit_days', 'int_complete_journey__unit_days'] %}
select
    source,
    unit_id,
    day,
    metric,
    cast(value as double) as value,
    cast(events as bigint) as events
from {{ ref(source_model) }}
{{ 'union all' if not loop.last }}
{% endfor %}
