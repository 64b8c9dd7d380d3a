with events as (
    {{ latest_version(source('raw', 'planted_world__web_events'), ['event_id'], 'received_at') }}
)

select
    event_id,
    'web' as platform,
    cookie_id as platform_id,
    event,
    amount,
    upper(currency) as currency,
    coalesce(lower(user_agent) like '%bot%', false) as is_bot,
    versions,
    {{ not_after_receipt('occurred_at') }} as occurred_at,
    received_at
from events
