-- Time of a checkpoint as a regression takes it. One expression, so that a query takes it in.
-- Source: Xia et al. 2023: step in the paper, log_step in its code; index is the checkpoint's number, an extension.
create or replace function analysis.regressor(predictor text, steps integer[], place integer)
returns double precision
language sql immutable parallel safe
as $$
select case predictor
    when 'step' then steps[place]
    when 'log_step' then ln(steps[place]::double precision)
    when 'index' then place
end
$$;

comment on function analysis.regressor(text, integer[], integer) is
'time of the checkpoint at a place of a list of steps, by predictor: step (optimiser steps), log_step (their natural
logarithm; an error at step 0) or index (the place itself). NULL for another predictor';
