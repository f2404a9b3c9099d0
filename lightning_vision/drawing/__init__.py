"""Drawing without a report's machinery: canvas, heatmap, curves, a run's figures, thumbnails, page templates."""
