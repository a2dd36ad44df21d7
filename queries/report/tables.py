"""The tables of the report: what each shows, and the SQL that reads it. This module may not know HTML."""

from __future__ import annotations

from dataclasses import dataclass

from queries.figures.reading import Connection, Source
from queries.report.page import Table


@dataclass(frozen=True)
class Asked:
    """A table before it is read. query: with the parameters of a Scored subject, and `layer` where it asks for one."""

    title: str
    note: str
    query: str
    upright: bool = False
    folded: bool = False

    def read(self, connection: Connection, **parameters: object) -> Table | None:
        """The table; None where it has no rows."""
        source = Source(connection)
        rows = source.rows(self.query, **parameters)
        words = {name: str(value).replace("_", " ") for name, value in parameters.items()}
        title, note = (text.format(**words) for text in (self.title, self.note))
        return Table(title, note, rows, source.statements, self.upright, self.folded) if rows.rows else None


CORPUS = Asked(
    "The text",
    "",
    """
    select corpus.name as corpus, corpus.n_documents as documents, corpus.n_tokens as tokens,
        corpus.n_characters as characters, corpus.n_bytes as bytes, tokenizer.name as tokenizer,
        tokenizer.length as "vocabulary ids", corpus.eos_policy as "EOS",
        corpus.cluster as "independent, for standard errors", corpus.source, corpus.licence,
        corpus.text_sha256 as "SHA-256 of the text", corpus.token_sha256 as "SHA-256 of the token ids",
        tokenizer.sha256 as "SHA-256 of the tokenizer", corpus.created_at as loaded
    from warehouse.corpus as corpus
    inner join warehouse.tokenizer as tokenizer using (tokenizer_id)
    where corpus.name = %(corpus)s
    """,
    upright=True,
)

MODELS = Asked(
    "Models",
    "Seeds and steps are those that a study names; checkpoints that are not good are left out of every figure.",
    """
    select model, max(parameters) as parameters, max(parameters_without_embeddings) as "without embeddings",
        max(hidden_size) as "hidden size", max(layers) as layers, count(distinct seed) as seeds,
        count(distinct step) as steps, count(*) as checkpoints, count(*) filter (where status = 'ok') as good
    from analysis.checkpoints
    where family = %(family)s and model = any(%(models)s)
    group by model
    order by max(parameters), model
    """,
)

COMPARISONS = Asked(
    "Comparisons",
    "A comparison averages over its ordered pairs; figures show those that are complete.",
    """
    select kind, count(*) as comparisons, count(*) filter (where complete) as complete,
        sum(n_pairs) as "ordered pairs", min(n_seeds) as "fewest seeds", max(n_seeds) as "most seeds"
    from analysis.comparisons
    where corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s and model = any(%(models)s)
    group by kind
    order by kind
    """,
)

PHASES = Asked(
    "Phases of training",
    "Change of the expected convergence of seeds within each phase, its slope per doubling of steps, means over its "
    "steps, all in nats, and, for the last, how much of the divergence is undone: 1 less KL at the end over KL where "
    "divergence ends.",
    """
    select model, replace(phase, '_', ' ') as phase, first_step as "first step", last_step as "last step",
        convergence_change as change, slope_per_log2_step as slope, mean_convergence as mean,
        mean_kl_unigram as "KL to unigram", mean_cross_entropy as "cross-entropy", divergence_reduction as undone
    from analysis.phase_statistics
    where definition = %(definition)s and corpus = %(corpus)s and protocol = %(protocol)s
        and family = %(family)s and model = any(%(models)s)
    order by model, first_step
    """,
)

NEAREST = Asked(
    "Where models are nearest to a reference",
    "The step of least mean KL(model || reference), means over seeds, among the steps with as many seeds as most have.",
    """
    select reference, model, step, kl_reference as "KL (nats)", n_seeds as seeds, n_steps as "steps compared"
    from analysis.reference_step
    where corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s and model = any(%(models)s)
    order by reference, model
    """,
)

AT_THE_END = Asked(
    "Convergence of seeds by {layer}, at the last step",
    "Minus the mean KL between seeds, in nats, with standard errors over seeds and over text.",
    """
    select model, step, value, n_tokens as tokens, convergence as "convergence (nats)", se_seed as "s.e. of seeds",
        se_document as "s.e. of text", se_total as "s.e. of both"
    from analysis.conditional_convergence
    inner join (
        select model, max(step) as step
        from analysis.expected_convergence
        where kind = 'seed' and corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s
            and model = any(%(models)s) and complete
        group by model
    ) as last_step using (model, step)
    where kind = 'seed' and corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s
        and model = any(%(models)s) and complete and layer = %(layer)s
    order by model, lower, value_number, value
    """,
)

OUTLIERS = Asked(
    "Outliers among values of {layer}, from step to step",
    "Ratio of the value's mean KL to that of all tokens, from a step to the next; q is the rate of false discoveries "
    "(Benjamini and Hochberg).",
    """
    select model, step, step_q as "next step", value, n_tokens as tokens, sigma as "ratio",
        se_log_sigma as "s.e. of log ratio", q_value as q
    from analysis.relative_divergence_outliers
    where kind = 'step' and corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s
        and model = any(%(models)s) and complete and layer = %(layer)s
        and comparison_id in (select comparison_id from analysis.comparisons where kind = 'step' and preferred)
    order by abs(log_sigma) desc, model, step, value
    """,
    folded=True,
)

SATURATION = Asked(
    "Best and last checkpoints",
    "For each training run the best step of a metric, and the last value over the best: above 1 a loss has risen "
    "again, below 1 an accuracy has fallen.",
    """
    select metric, source, model, seed, best_step as "best step", best_value as "best value",
        se_best as "s.e. of the best", final_step as "last step", final_value as "last value",
        se_final as "s.e. of the last", final_to_best as "last over best", steps_since_best as "steps since"
    from analysis.saturation
    where family = %(family)s and model = any(%(models)s)
        and (corpus is null or corpus = %(corpus)s and protocol = %(protocol)s) and not outlier
    order by source nulls first, metric, model, seed
    """,
    folded=True,
)

PROTOCOL = Asked(
    "Protocol",
    "What changes a measured quantity by design; results of different protocols never mix.",
    """
    select protocol, windows, "window" as "longest window (tokens)", bos as "begins with BOS", vocabulary,
        dtype as "number format", tf32 as "TF32", origin
    from analysis.protocols
    where protocol = %(protocol)s
    """,
    upright=True,
)

REFERENCES = Asked(
    "References",
    "Distributions over the vocabulary that models are held against.",
    """
    select distinct reference.name as reference, reference.ngram_order as n, reference.total as "counted tokens",
        reference.entropy as "entropy (nats)", reference.smoothing, reference.source,
        reference.sha256 as "SHA-256 of the counts"
    from warehouse.reference_distribution as reference
    inner join warehouse.corpus as corpus using (tokenizer_id)
    where corpus.name = %(corpus)s
    order by reference.ngram_order, reference.name
    """,
)

LAYERS = Asked(
    "Annotation layers",
    "",
    """
    select layer, model as "of model", kind, n_values as values, n_tokens as tokens, coverage, source, description,
        created_at as loaded
    from analysis.annotation_layers
    where corpus = %(corpus)s
    order by layer, model
    """,
)

LEFT_OUT = Asked(
    "Checkpoints and training runs that are left out",
    "Of the statistics, that is: what was measured of them stays in the warehouse.",
    """
    select model, seed, step, status, outlier as "run flagged", coalesce(reason, run_note) as reason
    from analysis.checkpoints
    where family = %(family)s and model = any(%(models)s) and (status <> 'ok' or outlier)
    order by model, seed, step
    """,
    folded=True,
)

CHECKPOINTS = Asked(
    "Checkpoints",
    "Equal hashes are equal weights.",
    """
    select model, seed, step, status, tokens_seen as "tokens seen", source, revision,
        weights_sha256 as "SHA-256 of the weights"
    from analysis.checkpoints
    where family = %(family)s and model = any(%(models)s)
    order by model, seed, step
    """,
    folded=True,
)

ENVIRONMENTS = Asked(
    "Where it was computed",
    "Devices and versions of libraries, and how many evaluations each has measured.",
    """
    select environment.description as environment, count(*) as evaluations, sum(evaluation.seconds) as seconds,
        min(evaluation.measured_at) as "from", max(evaluation.measured_at) as "to"
    from analysis.evaluations as shown
    inner join warehouse.evaluation as evaluation using (evaluation_id)
    inner join warehouse.environment as environment using (environment_id)
    where shown.corpus = %(corpus)s and shown.protocol = %(protocol)s and shown.family = %(family)s
        and shown.model = any(%(models)s)
    group by environment.environment_id, environment.description
    order by min(evaluation.measured_at)
    """,
)

FITS = Asked(
    "Fits",
    "What was fitted outside SQL, with the settings and versions to fit it again.",
    """
    select kind, name, settings, versions, input_digest as "SHA-256 of the input", made_at as made
    from analysis.fits
    where (family is null or family = %(family)s) and (corpus is null or corpus = %(corpus)s)
        and (protocol is null or protocol = %(protocol)s)
    order by kind, name
    """,
)

VERSIONS = Asked(
    "Versions",
    "",
    """
    select package_version as "token-warehouse, of the views", digest as "SHA-256 of the views",
        version_num as "schema", current_setting('server_version') as "PostgreSQL"
    from warehouse.views_state
    cross join warehouse.alembic_version
    """,
    upright=True,
)

SETTINGS = Asked(
    "Thresholds of the analyses",
    "The one row of warehouse.settings.",
    """
    select * from warehouse.settings
    """,
    upright=True,
)

#: Where the numbers come from, in the order of the page.
PROVENANCE = (LEFT_OUT, CHECKPOINTS, PROTOCOL, ENVIRONMENTS, REFERENCES, LAYERS, FITS, VERSIONS, SETTINGS)
