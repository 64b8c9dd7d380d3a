-- the file repeats some rows
select distinct
    campaign_id,
    coupon_upc,
    product_id
from {{ source('raw', 'complete_journey__coupons') }}
