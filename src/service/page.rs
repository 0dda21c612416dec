//! The dashboard's files, embedded: plain HTML, CSS and JavaScript modules, nothing to build or to fetch.

/// Each by its path, with its media type.
pub const FILES: [(&str, &str, &str); 8] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/page.css", CSS, include_str!("page/page.css")),
    ("/main.js", JS, include_str!("page/main.js")),
    ("/signals.js", JS, include_str!("page/signals.js")),
    ("/book.js", JS, include_str!("page/book.js")),
    ("/heat.js", JS, include_str!("page/heat.js")),
    ("/panels.js", JS, include_str!("page/panels.js")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// What the page may load and speak to: this server alone, and no inline code or style.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
