select
    product_id,
    store_id,
    display_location,
    mailer_location,
    week
from {{ source('raw', 'complete_journey__promotions') }}
