{#
  The retailer trades in one time zone. A purchase belongs to the trading day, as campaign dates and redemptions do: by
  UTC day 17% of the lines would fall on the day after, and 80% instead of 92% of the redemptions on a shopping day.
#}
{% set time_zone = 'America/New_York' %}

select
    household_id,
    store_id,
    basket_id,
    product_id,
    quantity,
    -- cents: a sum of decimals does not depend on its order, so that a rerun gives the same table
    cast(sales_value as decimal(18, 2)) as sales_value,
    cast(retail_disc as decimal(18, 2)) as retail_disc,
    cast(coupon_disc as decimal(18, 2)) as coupon_disc,
    cast(coupon_match_disc as decimal(18, 2)) as coupon_match_disc,
    week,
    transaction_timestamp as transacted_at,
    cast(
        transaction_timestamp at time zone 'UTC' at time zone '{{ time_zone }}' as date
    ) as trading_day
from {{ source('raw', 'complete_journey__transactions') }}
