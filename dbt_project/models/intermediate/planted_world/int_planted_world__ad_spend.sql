select
    spend.day,
    spend.geo,
    spend.channel,
    spend.spend * fx_rates.usd as spend_usd
from {{ ref('stg_planted_world__ad_spend') }} as spend
inner join {{ ref('fx_rates') }} as fx_rates on spend.currency = fx_rates.currency
