"""The scores of the recipe's own: single ones, and tables, as panoptic quality of each class."""

from collections.abc import Mapping

from kit.report.results import Results


def further_scores(results: Results) -> dict:
    """Return "further" and "further_table" of report.json.

    further        {name: score}
    further_table  {"columns": names, "rows": [{"name", "values": [score of each column, null where it has none]}]};
                   null without one
    """
    tables = {name: row for name, row in results.further.items() if isinstance(row, Mapping)}
    single = {name: score for name, score in results.further.items() if name not in tables}
    columns = list(dict.fromkeys(column for row in tables.values() for column in row))
    rows = [{"name": name, "values": [row.get(column) for column in columns]} for name, row in tables.items()]
    return {"further": single, "further_table": {"columns": columns, "rows": rows} if rows else None}
