"""The tasks' results as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from .expression import BiomarkerResult, InferenceScore, Setting
from .index_agreement import IndexAgreement
from .knn import KnnResult
from .ranking import CUTS
from .retrieval import PAIR, RetrievalScore
from .sweep import SweepResult
from .tables import NAMES, shown, spanned, table
from .zero_shot import ZeroShotResult

LEFT_OUT = {
    "nothing": "everything, the patch itself too",
    "patch": "without the patch and what overlaps it",
    "region": "without its region",
    "patient": "without its patient",
}
"""The galleries as a reader knows them."""

VOTERS = {"patch": "with the patient's other patches", "patient": "without the patient"}


def render_retrieval(scores: Sequence[RetrievalScore], agreement: Sequence[IndexAgreement] = ()) -> str:
    """Retrieval: a table of exact pairs, one for each label, and how a graph compares with exact search."""
    matches = list(dict.fromkeys(score.match for score in scores))
    parts = [_matches([score for score in scores if score.match == match], match) for match in matches]
    if agreement:
        rows = [
            (
                _direction(one.query, one.gallery),
                *(f"{one.found[k]:.4f}" for k in one.found),
                *(f"{one.graph[k]:.3f} / {one.exact[k]:.3f}" for k in (5,) if k in one.graph),
            )
            for one in agreement
        ]
        names = ("direction", *(f"first {k}" for k in agreement[0].found), "pair@5, graph / exact")
        parts.append(
            "Search by a graph (HNSW) against exact search: share of the first places where the graph's patch is as "
            "similar as the exact one.\n\n" + table(names[: len(rows[0])], rows)
        )
    return "\n\n".join(parts)


def _matches(scores: Sequence[RetrievalScore], match: str) -> str:
    if match == PAIR:
        head = (
            f"Exact pairs among {scores[0].size} patches: recall of the very patch, chance in brackets, and its "
            "rank. Equal texts of a patient's patches are ranked by chance."
        )
        names = ("direction", *(f"recall@{k}" for k in CUTS), "nDCG@10", "MRR", "mean rank", "median")
        rows = [
            (
                _direction(score.query, score.gallery),
                *(_beside(score.at["recall"][k].value, score.chance["recall"][k]) for k in CUTS),
                _beside(score.at["ndcg"][10].value, score.chance["ndcg"][10]),
                spanned(score.mrr),
                f"{score.mean_rank.value:.1f} ({score.chance_rank:.1f})",
                f"{score.median_rank:.1f}",
            )
            for score in scores
        ]
        return head + "\n\n" + table(names, rows)
    own = "may be found, as published" if scores[0].own_patient else "are left out"
    head = (
        f"Patches of the same {match.replace('_', ' ')}: {scores[0].queries} queries, chance in brackets; the "
        f"patient's own patches {own}. The rank is that of the first such patch."
    )
    names = ("direction", *(f"precision@{k}" for k in (1, 10, 50)), "recall@50", "F1@50", "nDCG@10", "mAP@10", "MRR")
    rows = [
        (
            _direction(score.query, score.gallery),
            *(_beside(score.at["precision"][k].value, score.chance["precision"][k]) for k in (1, 10, 50)),
            *(_beside(score.at[name][50].value, score.chance[name][50]) for name in ("recall", "f1")),
            *(_beside(score.at[name][10].value, score.chance[name][10]) for name in ("ndcg", "ap")),
            spanned(score.mrr),
        )
        for score in scores
    ]
    return head + "\n\n" + table(names, rows)


def render_galleries(result: BiomarkerResult) -> str:
    """Biomarker inference under the galleries: one row a gallery and form."""
    setting = _setting(result.setting)
    kept = sum(marker.kept for marker in result.forms[1].markers)
    head = (
        f"Mean correlation of inferred and measured expression over {kept} markers that more than 80 % of "
        f"{result.gallery_patches} gallery patches measured, {result.patches} patches of {result.regions} regions of "
        f"{result.patients} patients; {setting}. Published: a marker that a neighbour did not measure counts as −1; "
        "honest: it does not count. Inside regions: mean over the regions."
    )
    notes = []
    if not result.shared:
        notes.append("The gallery holds none of these patients, so there is nothing to leave out.")
    elif not result.places_known:
        notes.append("The patches' places are not known: leaving the patch out leaves those that overlap it in.")
    if result.shared and result.regions_are_patients:
        notes.append("Every patient has one region, so leaving out either is the same.")
    rows = [
        (
            LEFT_OUT[score.leave] if result.shared else "another cohort",
            score.name,
            spanned(score.pearson),
            spanned(score.spearman),
            shown(score.region_pearson),
            shown(score.error),
        )
        for score in result.forms
    ]
    names = ("gallery", "form", "Pearson", "Spearman", "inside regions", "error (z)")
    return "\n\n".join((" ".join((head, *notes)), table(names, rows)))


def render_biomarkers(result: BiomarkerResult, sweep: SweepResult | None = None) -> str:
    """Biomarker inference: galleries, baselines, markers, and the sweep."""
    strictest = result.forms[-1]
    parts = [render_galleries(result), _baselines(result.baselines, strictest), _markers(strictest)]
    if sweep is not None:
        parts.append(_sweep(sweep))
    return "\n\n".join(parts)


def _baselines(baselines: Sequence[InferenceScore], honest: InferenceScore) -> str:
    rows = [
        (score.name, spanned(score.pearson), spanned(score.spearman), shown(score.error))
        for score in (honest, *baselines)
    ]
    head = (
        "What less would do, honest, under the strictest gallery. The mean of the others sinks when a patient's own "
        "values are high, so a mean without the patient correlates negatively by construction; its error is the figure "
        "to look at."
    )
    return head + "\n\n" + table(("from", "Pearson", "Spearman", "error (z)"), rows)


def _markers(score: InferenceScore) -> str:
    rows = [
        (
            marker.marker,
            str(marker.patches),
            "yes" if marker.kept else "no",
            spanned(marker.pearson),
            spanned(marker.spearman),
        )
        for marker in score.markers
    ]
    rows.append(("mean of all", "", "", spanned(score.all_pearson), ""))
    head = f"By marker, honest, {LEFT_OUT[score.leave] if score.leave != 'nothing' else 'all of the gallery'}."
    return head + "\n\n" + table(("marker", "patches", "> 80 %", "Pearson", "Spearman"), rows)


def _sweep(sweep: SweepResult) -> str:
    chosen = "; ".join(_setting(setting) for setting in sweep.chosen)
    lines = [
        f"Sweep of text weight, neighbours and temperature (honest, strictest gallery, {sweep.patches} patches of "
        f"{sweep.patients} patients, all markers). Chosen on one half of the patients and told on the other: "
        f"{sweep.chosen_pearson:.3f}, against {sweep.start_pearson:.3f} with {_setting(sweep.start)}. "
        f"The choices: {chosen}. Told on the patients that chose it would have been {sweep.optimistic:.3f}.",
    ]
    for axis, profile in sweep.profiles.items():
        values = ", ".join(f"{value:g}: {score:.3f}" for value, score in profile)
        lines.append(f"- by {axis.replace('_', ' ')}, the others as above, all patients: {values}")
    return lines[0] + "\n\n" + "\n".join(lines[1:])


def render_knn(result: KnnResult) -> str:
    """kNN classification: one row a modality, gallery and k."""
    head = (
        f"kNN classification of {result.label.replace('_', ' ')} ({', '.join(result.classes)}), {result.patients} "
        f"patients. Always saying the most common class is right in {result.majority:.3f} of the patches; balanced "
        f"accuracy by chance is {1 / len(result.classes):.3f}."
    )
    if result.dropped:
        head += f" {result.dropped} classes that one patient alone has are left out."
    rows = [
        (
            NAMES[score.modality],
            VOTERS[score.leave],
            str(score.neighbours),
            spanned(score.score.accuracy),
            spanned(score.score.balanced),
            spanned(score.score.f1),
        )
        for score in result.scores
    ]
    return head + "\n\n" + table(("from", "who votes", "k", "accuracy", "balanced", "macro F1"), rows)


def render_zero_shot(result: ZeroShotResult) -> str:
    """Zero-shot classification: mean and deviation over the templates, and each template."""
    head = (
        f"Zero-shot classification of {result.label.replace('_', ' ')} ({', '.join(result.classes)}), "
        f"{result.patients} patients. Always saying the most common class is right in {result.majority:.3f} of the "
        f"patches; balanced accuracy by chance is {1 / len(result.classes):.3f}."
    )
    rows = []
    for score in result.scores:
        spread = [f"{score.mean(name):.3f} ± {score.deviation(name):.3f}" for name in ("accuracy", "balanced", "f1")]
        rows.append((NAMES[score.modality], "mean ± sd of the templates", *spread))
        for template, own in zip(result.templates, score.templates, strict=True):
            rows.append(("", f'"{template}"', *(spanned(figure) for figure in (own.accuracy, own.balanced, own.f1))))
        notes = score.notes
        rows.append(
            ("", "as the notes say it", *(spanned(figure) for figure in (notes.accuracy, notes.balanced, notes.f1)))
        )
    return head + "\n\n" + table(("from", "sentence", "accuracy", "balanced", "macro F1"), rows)


def _direction(query: str, gallery: str) -> str:
    return f"{NAMES[query]} → {NAMES[gallery]}"


def _beside(value: float, chance: float) -> str:
    return f"{shown(value, 3)} ({shown(chance, 3)})"


def _setting(setting: Setting) -> str:
    return f"text weight {setting.text_weight:g}, {setting.neighbours} neighbours, temperature {setting.temperature:g}"
