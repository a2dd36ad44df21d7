-- The row of settings, which holds the thresholds of the analyses, is missing.
select 'settings' as what
where not exists (select from warehouse.settings);
