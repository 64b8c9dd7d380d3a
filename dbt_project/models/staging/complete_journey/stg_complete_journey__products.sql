select
    product_id,
    manufacturer_id,
    department,
    brand,
    product_category,
    product_type,
    package_size,
    -- the type alone names all of it: a seventh of the fuel is filed under the department MISCELLANEOUS
    coalesce(product_type = 'GASOLINE-REG UNLEADED', false) as is_fuel
from {{ source('raw', 'complete_journey__products') }}
