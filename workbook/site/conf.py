"""The configuration of Sphinx; `pages` gives it the folders on the command line."""

project = "Neural networks on a Raspberry Pi"
language = "en"

extensions = ["myst_nb", "sphinx_copybutton", "workbook.site.mathml"]
nb_execution_mode = "off"
nb_ipywidgets_js: dict = {}  # no notebook has widgets, and their scripts come from elsewhere
nb_merge_streams = True
nb_render_markdown_format = "myst"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # links lead to sections of chapters
myst_dmath_allow_space = False  # "5 $ and 6 $" is no formula

templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["workbook.css"]
html_js_files = [("workbook.js", {"defer": "defer"})]
html_title = project
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_use_index = False
html_show_sphinx = False
html_show_copyright = False
copybutton_selector = "div.cell_input pre"

html_theme = "pydata_sphinx_theme"
html_sidebars = {"**": ["chapters.html"]}
html_theme_options = {
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button-field"],
    "search_bar_text": "Search the book",
    "article_header_start": [],
    "secondary_sidebar_items": ["page-toc"],
    "primary_sidebar_end": [],
    "footer_start": [],
    "footer_center": [],
    "footer_end": [],
    "show_toc_level": 2,
    "show_prev_next": True,
}
