{# the e-mail platform writes one recipient in upper and lower case #}
{% set platform_id = "case when platform = 'email' then lower(platform_id) else platform_id end" %}

with links as (
    {{ latest_version(source('raw', 'planted_world__identities'), ['platform', platform_id], 'linked_at') }}
)

select
    platform,
    {{ platform_id }} as platform_id,
    customer_id,
    versions,
    linked_at
from links
