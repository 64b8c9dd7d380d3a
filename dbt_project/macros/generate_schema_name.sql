{# A schema is called what its folder says, in every environment: readers outside dbt know it by that name. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
{{ custom_schema_name or target.schema }}
{%- endmacro %}
