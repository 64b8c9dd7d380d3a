-- two campaigns of one type that start together are one mailing
select distinct
    'campaign_' || replace(lower(descriptions.campaign_type), ' ', '_') as program,
    cast(campaigns.household_id as varchar) as unit_id,
    'mailed' as arm,
    cast(descriptions.start_date as timestamp) as assigned_at
from {{ ref('stg_complete_journey__campaigns') }} as campaigns
inner join {{ ref('stg_complete_journey__campaign_descriptions') }} as descriptions
    on campaigns.campaign_id = descriptions.campaign_id
