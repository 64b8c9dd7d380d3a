{#
  The row of each key that was delivered last, and how many versions of it were delivered.

  relation: a raw table. key: list of columns. version: the column that orders its deliveries; among equals the later
  file wins. Adds `versions` (1 when never restated), so that superseded rows can be counted.
#}
{% macro latest_version(relation, key, version) -%}
    select *
    from (
        select
            *,
            row_number() over by_delivery as versions,
            lead(1) over by_delivery is null as is_latest
        from {{ relation }}
        window by_delivery as (partition by {{ key | join(', ') }} order by {{ version }}, _file)
    ) as versioned
    where is_latest
{%- endmacro %}
