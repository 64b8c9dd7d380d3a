{# A clock that runs ahead cannot make an event happen after it was received. #}
{% macro not_after_receipt(occurred_at) -%}
case when {{ occurred_at }} > received_at then received_at else {{ occurred_at }} end
{%- endmacro %}
