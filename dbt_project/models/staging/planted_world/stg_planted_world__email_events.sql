with events as (
    {{ latest_version(source('raw', 'planted_world__email_events'), ['event_id'], 'received_at') }}
),

timed as (
    select
        *,
        -- a zone that does not exist leaves no time: the event is set aside and counted, and the build goes on
        case
            when time_zone in (select zones.name from pg_timezone_names() as zones)
                then occurred_local at time zone time_zone at time zone 'UTC'
        end as occurred_at
    from events
)

select
    event_id,
    'email' as platform,
    lower(recipient) as platform_id,
    event,
    cast(null as double) as amount,
    cast(null as varchar) as currency,
    false as is_bot,
    versions,
    {{ not_after_receipt('occurred_at') }} as occurred_at,
    received_at
from timed
