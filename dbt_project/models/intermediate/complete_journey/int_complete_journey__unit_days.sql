{# metric, what is summed for its value and for its events, and of which part of a day #}
{% set household_metrics = [
    ('spend', 'spend', 'lines', 'true'),
    ('fuel_spend', 'spend', 'lines', 'is_fuel'),
    ('products', 'products', 'products', 'true'),
    ('coupon_discount', 'coupon_discount', 'discounted_lines', 'discounted_lines > 0'),
] %}
{{ config(materialized='table') }}

with type_a_campaigns as (
    select campaign_id
    from {{ ref('stg_complete_journey__campaign_descriptions') }}
    where campaign_type = 'Type A'
),

-- the type A campaigns that had a coupon for a product; few combinations exist, so that a day's lines collapse by them
offers as (
    select
        coupons.product_id,
        array_agg(distinct coupons.campaign_id order by coupons.campaign_id) as campaign_ids
    from {{ ref('stg_complete_journey__coupons') }} as coupons
    inner join type_a_campaigns on coupons.campaign_id = type_a_campaigns.campaign_id
    group by coupons.product_id
),

lines as (
    select
        transactions.household_id,
        transactions.trading_day as day,
        transactions.basket_id,
        transactions.product_id,
        transactions.sales_value,
        transactions.coupon_disc,
        offers.campaign_ids,
        coalesce(products.is_fuel, false) as is_fuel
    from {{ ref('stg_complete_journey__transactions') }} as transactions
    left join {{ ref('stg_complete_journey__products') }} as products on transactions.product_id = products.product_id
    left join offers on transactions.product_id = offers.product_id
),

household_days as (
    select
        household_id,
        day,
        is_fuel,
        campaign_ids,
        count(*) as lines,
        count(distinct product_id) as products,
        sum(sales_value) as spend,
        sum(coupon_disc) as coupon_discount,
        sum(case when coupon_disc > 0 then 1 else 0 end) as discounted_lines
    from lines
    group by household_id, day, is_fuel, campaign_ids
),

campaign_days as (
    select
        household_days.household_id,
        household_days.day,
        case when array_contains(household_days.campaign_ids, type_a_campaigns.campaign_id) then 'on' else 'off' end
            as side,
        type_a_campaigns.campaign_id,
        household_days.spend,
        household_days.lines
    from household_days
    cross join type_a_campaigns
    where not household_days.is_fuel
),

metrics as (
    {% for metric, value, events, condition in household_metrics %}
    select
        household_id,
        day,
        '{{ metric }}' as metric,
        sum({{ value }}) as value,
        sum({{ events }}) as events
    from household_days
    where {{ condition }}
    group by household_id, day
    union all
    {% endfor %}
    select
        household_id,
        day,
        'spend_' || side || '_campaign_' || campaign_id as metric,
        sum(spend) as value,
        sum(lines) as events
    from campaign_days
    group by household_id, day, side, campaign_id
    union all
    select
        household_id,
        day,
        'trips' as metric,
        count(distinct basket_id) as value,
        count(distinct basket_id) as events
    from lines
    group by household_id, day
    union all
    select
        household_id,
        redemption_date as day,
        'redemptions' as metric,
        count(*) as value,
        count(*) as events
    from {{ ref('stg_complete_journey__coupon_redemptions') }}
    group by household_id, redemption_date
)

select
    cast(household_id as varchar) as unit_id,
    day,
    metric,
    cast(value as double) as value,
    cast(events as bigint) as events
from metrics
