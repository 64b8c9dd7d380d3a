{{ config(materialized='table') }}

with daily as (
    select
        customer_id,
        cast(occurred_at as date) as day,
        event,
        count(*) as events,
        count(case when table_name = 'app_events' then 1 end) as app_events,
        count(case when table_name = 'email_events' then 1 end) as email_events,
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
    union all
    select
        customer_id,
        day,
        'app_visits' as metric,
        app_events as value,
        app_events as events
    from daily
    where event = 'visit' and app_events > 0
    union all
    select
        customer_id,
        day,
        'email_clicks' as metric,
        email_events as value,
        email_events as events
    from daily
    where event = 'click' and email_events > 0
)

select
    customer_id as unit_id,
    day,
    metric,
    cast(value as double) as value,
    cast(events as bigint) as events
from metrics
