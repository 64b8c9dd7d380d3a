with customer_versions as (
    {{ latest_version(source('raw', 'planted_world__customers'), ['customer_id', 'updated_at'], '_file') }}
)

select
    customer_id,
    region,
    neighbourhood,
    age_band,
    -- a column that later files gained: the raw table keeps it in its JSON of columns outside the contract
    json_extract_string(_extra, '$.loyalty_tier') as loyalty_tier,
    consent_marketing,
    versions,
    signup_at,
    updated_at
from customer_versions
