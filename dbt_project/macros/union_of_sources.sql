{#
  A mart: the rows of int_<source>__<mart> of every source that lists the mart under `sources` in dbt_project.yml, with
  the columns of the mart's contract, `source` filled in; no rows when no source lists it. Types are not cast to the
  contract's: a part that has others is refused by it.
#}
{% macro union_of_sources() -%}
{% set sources = var('sources') %}
{% if execute %}{{ refuse_unlisted_sources(model.name, sources) }}{% endif %}
{% set columns = model.columns.values() %}
{% for source, marts in sources.items() if model.name in marts %}
select
    {% for column in columns %}
    {{ "'" ~ source ~ "' as source" if column.name == 'source' else column.name }}{{ ',' if not loop.last }}
    {% endfor %}
from {{ ref('int_' ~ source ~ '__' ~ model.name) }}
{{ 'union all' if not loop.last }}
{% else %}
select
    {% for column in columns %}
    cast(null as {{ column.data_type }}) as {{ column.name }}{{ ',' if not loop.last }}
    {% endfor %}
where false
{% endfor %}
{%- endmacro %}

{# A model named as a part of the mart that no source lists would be left out without a word. #}
{% macro refuse_unlisted_sources(mart, sources) %}
{% for node in graph.nodes.values() if node.resource_type == 'model' and node.name.endswith('__' ~ mart) %}
{% set source = node.name.removeprefix('int_').removesuffix('__' ~ mart) %}
{% if node.name.startswith('int_') and mart not in sources.get(source, []) %}
{{ exceptions.raise_compiler_error(
    node.original_file_path ~ " is in no mart: dbt_project.yml, vars.sources." ~ source ~ " lists "
    ~ sources.get(source, []) ~ ", add " ~ mart
) }}
{% endif %}
{% endfor %}
{% endmacro %}
