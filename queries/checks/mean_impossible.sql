-- A unit whose stored mean is negative or not a number: a token without a value must be left out of it.
select
    'evaluation' as what,
    evaluation_id as unit_id,
    mean_surprisal as mean
from warehouse.evaluation
where status = 'complete' and (mean_surprisal < -1e-5 or mean_surprisal >= 'infinity' or mean_surprisal is null)
union all
select
    'comparison_pair',
    pair_id,
    mean_kl
from warehouse.comparison_pair
where mean_kl < 0 or mean_kl >= 'infinity'
union all
select
    'reference_evaluation',
    evaluation_id,
    mean_kl
from warehouse.reference_evaluation
where mean_kl < 0 or mean_kl >= 'infinity';
