{#
  Raw rows of the event tables = events in the source's unit_days + rows in this model, its data_loss. An event that
  stands under two metrics, as a purchase does under revenue and purchases, is counted under one: `counted_twice` lists
  the others. Returns the two totals when they differ.
#}
{% test every_raw_event_is_counted_or_set_aside(model, source_name, event_tables, counted_twice) %}
with raw_rows as (
    {% for event_table in event_tables %}
    select count(*) as rows
    from {{ source('raw', source_name ~ '__' ~ event_table) }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

accounted_rows as (
    select coalesce(sum(events), 0) as rows
    from {{ ref('int_' ~ source_name ~ '__unit_days') }}
    where metric not in ('{{ counted_twice | join("', '") }}')
    union all
    select coalesce(sum(rows), 0) as rows
    from {{ model }}
    where table_name in ('{{ event_tables | join("', '") }}')
),

totals as (
    select
        (select sum(rows) from raw_rows) as raw_rows,
        (select sum(rows) from accounted_rows) as accounted_rows
)

select *
from totals
where raw_rows <> accounted_rows
{% endtest %}
