select
    campaign_id,
    campaign_type,
    cast(start_date as date) as start_date,
    cast(end_date as date) as end_date
from {{ source('raw', 'complete_journey__campaign_descriptions') }}
