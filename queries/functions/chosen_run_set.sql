-- The run set that views of comparisons show: what the session's setting warehouse.run_set says, else default.
-- One expression, so that a query takes it in and the planner sees a constant.
create or replace function analysis.chosen_run_set() returns text
language sql stable parallel safe
as $$
select coalesce(nullif(current_setting('warehouse.run_set', true), ''), 'default')
$$;

comment on function analysis.chosen_run_set() is
    'Run set that views of comparisons show: default, or what `set warehouse.run_set = ''all''` says in this session.';
