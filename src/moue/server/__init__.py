"""Reading over HTTP, and the page: ``moue serve``. Needs the extra ``serve``."""
