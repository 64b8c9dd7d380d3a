{# A condition that is true of every row. Returns the rows where it is false or unknown. #}
{% test holds(model, condition) %}
select *
from {{ model }}
where ({{ condition }}) is not true
{% endtest %}
