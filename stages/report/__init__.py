"""One self-contained HTML page about a run and its data: data/reports/index.html.

Files flow in (logs, reports, processed arrays, dvc.lock), values in the middle, text out:

- `figure`: what a chart is; datasets give some of their own (`stages/datasets/<name>/report.py`);
- `logs`, `columns`, `lock`: what the memory logs, the train arrays and dvc.lock say;
- `facts`: all that is known of one dataset, and what is missing;
- `run_charts`, `data_charts`: facts -> Vega-Lite specifications, as plain dicts;
- `markup`, `run_sections`, `data_sections`, `page`: facts and charts -> HTML; page.html, page.css and page.js.
"""
