{{ config(materialized='table') }}

with daily as (
    select
        customer_id,
        cast(occurred_at as date) as day,
        event,
        count(*) as events,
        sum(amount_usd) as amount_usd
    from {{ ref('int_planted_world__events') }}
    where set_aside_reason is null
    group by customer_id, cast(occurred_at as date), event
),

metrics as (
    select
        customer_id,
        day,
        case when event = 'would_have_served' then event else event || 's' end as metric,
        case when event = 'refund' then amount_usd else events end as value,
        events
    from daily
    union all
    select
        customer_id,
        day,
        'revenue' as metric,
        amount_usd as value,
        events
    from daily
    where event = 'purchase'
)

select
    customer_id as unit_id,
    day,
    metric,
    cast(value as double) as value,
    cast(events as bigint) as events
from metrics
