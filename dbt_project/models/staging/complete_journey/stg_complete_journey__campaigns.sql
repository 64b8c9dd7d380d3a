select
    campaign_id,
    household_id
from {{ source('raw', 'complete_journey__campaigns') }}
