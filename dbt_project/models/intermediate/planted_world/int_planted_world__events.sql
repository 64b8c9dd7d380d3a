{% set event_tables = ['web_events', 'app_events', 'email_events', 'ad_events'] %}
{{ config(materialized='table') }}

with events as (
    {% for event_table in event_tables %}
    select
        '{{ event_table }}' as table_name,
        event_id,
        platform,
        platform_id,
        event,
        amount,
        currency,
        is_bot,
        versions,
        occurred_at
    from {{ ref('stg_planted_world__' ~ event_table) }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
)

select
    events.table_name,
    events.event_id,
    identities.customer_id,
    events.event,
    -- decimal: a sum that does not depend on its order, so that a rerun gives the same table
    cast(events.amount * fx_rates.usd as decimal(18, 6)) as amount_usd,
    events.versions,
    events.occurred_at,
    case
        when events.is_bot then 'bot'
        when events.occurred_at is null then 'unknown time zone'
        when identities.customer_id is null then 'unattributed'
        when events.event not in ('purchase', 'refund') then null
        when events.amount is null then 'no amount'
        when fx_rates.usd is null then 'unknown currency'
    end as set_aside_reason
from events
left join {{ ref('stg_planted_world__identities') }} as identities
    on events.platform = identities.platform and events.platform_id = identities.platform_id
left join {{ ref('fx_rates') }} as fx_rates on events.currency = fx_rates.currency
