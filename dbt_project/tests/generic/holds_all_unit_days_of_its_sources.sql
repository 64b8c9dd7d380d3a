{# Rows and events of unit_days = those of the sources' own models. Returns the totals when they differ. #}
{% test holds_all_unit_days_of_its_sources(model) %}
with parts as (
    {% for source, marts in var('sources').items() if 'unit_days' in marts %}
    select
        count(*) as rows,
        sum(events) as events
    from {{ ref('int_' ~ source ~ '__unit_days') }}
    union all
    {% endfor %}
    select
        0 as rows,
        0 as events
),

totals as (
    select
        (select count(*) from {{ model }}) as rows,
        (select coalesce(sum(events), 0) from {{ model }}) as events,
        (select sum(rows) from parts) as rows_of_sources,
        (select coalesce(sum(events), 0) from parts) as events_of_sources
)

select *
from totals
where rows <> rows_of_sources or events <> events_of_sources
{% endtest %}
