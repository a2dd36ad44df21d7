-- Training runs that are flagged as outliers, and part of run set all alone.
select distinct
    format('%s %s seed %s', family, model, seed) as what,
    run_note as why
from analysis.checkpoints
where outlier
order by what;
