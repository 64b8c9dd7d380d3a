select
    'planted_world' as source,
    program,
    customer_id as unit_id,
    arm,
    assigned_at
from {{ ref('stg_planted_world__assignments') }}
union all
-- two campaigns of one type that start together are one mailing
select distinct
    'complete_journey' as source,
    'campaign_' || replace(lower(descriptions.campaign_type), ' ', '_') as program,
    cast(campaigns.household_id as varchar) as unit_id,
    'mailed' as arm,
    cast(descriptions.start_date as timestamp) as assigned_at
from {{ ref('stg_complete_journey__campaigns') }} as campaigns
inner join {{ ref('stg_complete_journey__campaign_descriptions') }} as descriptions
    on campaigns.campaign_id = descriptions.campaign_id
