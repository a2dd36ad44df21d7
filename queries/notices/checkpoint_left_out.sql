-- Checkpoints that statistics leave out, or that could not be read.
select
    format('%s %s seed %s step %s', family, model, seed, step) as what,
    format('%s: %s', status, reason) as why
from analysis.checkpoints
where status <> 'ok'
order by family, model, seed, step;
