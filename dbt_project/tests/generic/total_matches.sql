{#
  An aggregate of the model equals an aggregate of another relation, both nothing or both to half a cent: sums of
  doubles depend on their order. Returns the two totals when they differ.
#}
{% test total_matches(model, total, relation, expected, tolerance=0.005) %}
with totals as (
    select
        (select coalesce({{ total }}, 0) from {{ model }}) as total,
        (select coalesce({{ expected }}, 0) from {{ relation }}) as expected
)

select *
from totals
where abs(total - expected) > {{ tolerance }}
{% endtest %}
