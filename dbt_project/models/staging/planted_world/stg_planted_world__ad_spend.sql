with deliveries as (
    {{ latest_version(source('raw', 'planted_world__ad_spend'), ['day', 'geo', 'channel'], '_file') }}
)

select
    day,
    geo,
    channel,
    spend,
    upper(currency) as currency,
    versions
from deliveries
