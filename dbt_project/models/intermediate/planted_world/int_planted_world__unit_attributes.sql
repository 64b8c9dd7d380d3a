with versions as (
    {% for attribute in ['region', 'neighbourhood', 'age_band', 'consent_marketing', 'loyalty_tier'] %}
    select
        customer_id,
        '{{ attribute }}' as attribute,
        cast({{ attribute }} as varchar) as value,
        updated_at,
        lag(cast({{ attribute }} as varchar)) over (partition by customer_id order by updated_at) as previous_value
    from {{ ref('stg_planted_world__customers') }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
)

select
    customer_id as unit_id,
    attribute,
    value,
    updated_at as known_at
from versions
where value is distinct from previous_value
