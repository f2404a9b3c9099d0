"""Drawing: canvas, heatmap, curves, figures of a run, thumbnails, page templates."""
