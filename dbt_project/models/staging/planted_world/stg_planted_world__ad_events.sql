with events as (
    {{ latest_version(source('raw', 'planted_world__ad_events'), ['event_id'], 'received_at') }}
)

select
    event_id,
    'ad' as platform,
    ad_user_id as platform_id,
    event,
    campaign,
    cast(null as double) as amount,
    cast(null as varchar) as currency,
    cost,
    upper(currency) as cost_currency,
    false as is_bot,
    versions,
    {{ not_after_receipt('occurred_at') }} as occurred_at,
    received_at
from events
