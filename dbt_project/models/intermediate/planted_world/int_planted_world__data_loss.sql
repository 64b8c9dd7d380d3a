with losses as (
    select
        table_name,
        set_aside_reason as reason,
        1 as rows
    from {{ ref('int_planted_world__events') }}
    where set_aside_reason is not null
    union all
    select
        table_name,
        'superseded' as reason,
        versions - 1 as rows
    from {{ ref('int_planted_world__events') }}
    {% for table_name in ['customers', 'identities', 'assignments', 'ad_spend'] %}
    union all
    select
        '{{ table_name }}' as table_name,
        'superseded' as reason,
        versions - 1 as rows
    from {{ ref('stg_planted_world__' ~ table_name) }}
    {% endfor %}
    union all
    select
        'ad_spend' as table_name,
        'unknown currency' as reason,
        1 as rows
    from {{ ref('stg_planted_world__ad_spend') }} as spend
    left join {{ ref('fx_rates') }} as fx_rates on spend.currency = fx_rates.currency
    where fx_rates.currency is null
)

select
    'staging' as stage,
    table_name,
    reason,
    cast(sum(rows) as bigint) as rows
from losses
group by table_name, reason
having sum(rows) > 0
