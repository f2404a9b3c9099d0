"""Sphinx's configuration; ``build_site.py`` calls it."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]

project = "lightning_vision"
release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
copyright = "The lightning_vision developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "mathml", "docstrings"]

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = "lightning_vision"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False

myst_heading_anchors = 4  # as on GitHub, where the same pages are read
myst_enable_extensions = ["attrs_inline"]

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = False  # True replaces the signatures of the classes themselves, for the rest of the process
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Differences from the paper"]

copybutton_prompt_text = "$ "
