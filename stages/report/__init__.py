"""One self-contained HTML page about a run and its data: data/reports/index.html.

Files flow in (logs, reports, processed arrays, dvc.lock), values in the middle, text out:

- `figure`: what a chart is; datasets give some of their own (`stages/datasets/<name>/report`);
- `logs`, `columns`, `lock`: what the memory logs, the train arrays and dvc.lock say;
- `model`: what is known of a trained model, and how it compares with its baselines;
- `facts`: all that is known of one dataset, and what is missing;
- `run_charts`, `data_charts`, `model_charts`: facts -> Vega-Lite specifications, as plain dicts;
- templates/: the page, and one file for each section of a dataset, in Jinja2; page.css and page.js;
- `markup`, `page`: what the templates are given, and how they are put together;
- `bundle`: the JavaScript that draws the charts; `cards`: facts -> data/cards/<name>.md;
- `model_cards`: what a training left -> data/models/<name>/README.md.
"""
