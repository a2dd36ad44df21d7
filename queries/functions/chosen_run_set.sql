-- The run set that views of comparisons show: all where the session's setting warehouse.run_set says so, else default.
-- One expression, so that a query takes it in and the planner sees a constant.
create or replace function analysis.chosen_run_set() returns text
language sql stable parallel safe
as $$
select case current_setting('warehouse.run_set', true) when 'all' then 'all' else 'default' end
$$;

comment on function analysis.chosen_run_set() is
    'Run set that views of comparisons show: default, or all after `set warehouse.run_set = ''all''` in this session.';
