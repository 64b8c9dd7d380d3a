{#
  For each household, day and personalised campaign: spend = fuel + spend on its coupons' products + spend off them.
  Returns the days that do not add up to half a cent.
#}
{% test campaign_spend_adds_up(model) %}
with days as (
    select
        unit_id,
        day,
        sum(case when metric = 'spend' then value else 0 end) as spend,
        sum(case when metric = 'fuel_spend' then value else 0 end) as fuel_spend
    from {{ model }}
    where metric in ('spend', 'fuel_spend')
    group by unit_id, day
),

campaigns as (
    select campaign_id
    from {{ ref('stg_complete_journey__campaign_descriptions') }}
    where campaign_type = 'Type A'
),

parts as (
    select
        unit_days.unit_id,
        unit_days.day,
        campaigns.campaign_id,
        sum(unit_days.value) as spend
    from {{ model }} as unit_days
    inner join campaigns
        on unit_days.metric in (
            'spend_on_campaign_' || campaigns.campaign_id, 'spend_off_campaign_' || campaigns.campaign_id
        )
    group by unit_days.unit_id, unit_days.day, campaigns.campaign_id
)

select
    days.*,
    campaigns.campaign_id,
    parts.spend as campaign_spend
from days
cross join campaigns
left join parts
    on days.unit_id = parts.unit_id and days.day = parts.day and campaigns.campaign_id = parts.campaign_id
where abs(days.spend - days.fuel_spend - coalesce(parts.spend, 0)) > 0.005
{% endtest %}
