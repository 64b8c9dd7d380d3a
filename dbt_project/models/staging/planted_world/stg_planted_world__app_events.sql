with events as (
    {{ latest_version(source('raw', 'planted_world__app_events'), ['event_id'], 'received_at') }}
),

timed as (
    select
        *,
        -- standard SQL has no conversion from epoch milliseconds
        epoch_ms(occurred_ms) as occurred_at
    from events
)

select
    event_id,
    'app' as platform,
    device_id as platform_id,
    event,
    amount_cents / 100.0 as amount,
    upper(currency) as currency,
    false as is_bot,
    versions,
    {{ not_after_receipt('occurred_at') }} as occurred_at,
    received_at
from timed
